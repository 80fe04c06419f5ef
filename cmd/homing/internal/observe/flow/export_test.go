package flow

import (
	"reflect"
)

// libraryConns is how many conns the library keeps: it does not tell.
func (a *Assembler) libraryConns() int {
	return reflect.ValueOf(a.lib).Elem().FieldByName("connPool").Elem().FieldByName("conns").Len()
}

// libraryPages is how many pages of 2 kB it holds.
func (a *Assembler) libraryPages() int {
	return int(reflect.ValueOf(a.lib).Elem().FieldByName("pc").Elem().FieldByName("used").FieldByName("v").Int())
}
