package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/cmd/homing/internal/api"
)

// TestDocumented: every endpoint, parameter and field says what it means.
func TestDocumented(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(typ reflect.Type)
	look = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Slice, reflect.Pointer, reflect.Map:
			look(typ.Elem())
		case reflect.Struct:
			if typ == reflect.TypeFor[time.Time]() || seen[typ] {
				return
			}
			seen[typ] = true
			for field := range typ.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				doc := api.DocOf(typ, field)
				if name == "" || name != strings.ToLower(name) || !strings.HasSuffix(doc, ".") || strings.Contains(doc, "\n") {
					t.Errorf("%s.%s: name %q, doc %q: want a name in lower case and a sentence", typ.Name(), field.Name, name, doc)
				}
				look(field.Type)
			}
		}
	}
	paths := map[string]bool{}
	for _, e := range endpoints() {
		if paths[e.method+e.path] {
			t.Errorf("%s %s is there twice", e.method, e.path)
		}
		paths[e.method+e.path] = true
		if !strings.HasSuffix(e.summary, ".") {
			t.Errorf("%s %s: summary %q", e.method, e.path, e.summary)
		}
		for _, q := range e.query {
			if !strings.HasSuffix(q.doc, ".") {
				t.Errorf("%s %s: parameter %s: %q", e.method, e.path, q.name, q.doc)
			}
		}
		if (e.response == nil) == (e.media == "") {
			t.Errorf("%s %s answers neither JSON nor a media type, or both", e.method, e.path)
		}
		if e.method != http.MethodGet && e.request == nil {
			t.Errorf("%s %s changes something, and does not ask for JSON: a page of another site could send it", e.method, e.path)
		}
		for _, typ := range []reflect.Type{e.request, e.response} {
			if typ != nil {
				look(typ)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

// TestOpenAPI: the description is complete in itself, and what the server answers is what it describes.
func TestOpenAPI(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	var doc object
	ask(t, s, http.MethodGet, "/v1/openapi.json", nil, &doc)
	schemas := doc["components"].(object)["schemas"].(object)
	for name := range schemas {
		if name == "" {
			t.Error("a schema without a name")
		}
	}
	described := 0
	for path, item := range doc["paths"].(object) {
		for method, op := range item.(object) {
			described++
			op := op.(object)
			for _, param := range asList(op["parameters"]) {
				if param.(object)["description"] == "" {
					t.Errorf("%s %s: a parameter without a description", method, path)
				}
			}
			if media := op["responses"].(object)["200"].(object)["content"].(object); len(media) != 1 {
				t.Errorf("%s %s: %d media types", method, path, len(media))
			}
		}
	}
	if described != len(endpoints()) {
		t.Errorf("%d operations are described, there are %d", described, len(endpoints()))
	}

	src.Events.Note(0, "something happened")
	s.keeper.look(time.Now())
	s.keeper.known()
	s.keeper.countWanted(t.Context())
	address := "192.0.2.1:443"
	for _, e := range s.endpoints {
		if e.response == nil || e.path == "/v1/openapi.json" || e.path == "/v1/reload" || e.path == "/v1/upgrade" {
			continue
		}
		body := map[string]any{
			"/v1/backends/{backend}/drain":   api.DrainRequest{For: 60},
			"/v1/backends/{backend}/undrain": api.UndrainRequest{},
			"/v1/backends/{backend}/weight":  api.WeightRequest{Weight: 2},
			"/v1/lookup":                     api.LookupRequest{Identifier: "a0a1"},
			"/v1/cluster/command":            api.SealedCommand{Sealed: []byte("sealed")},
		}[e.path]
		if e.path == "/v1/log-level" && e.method == http.MethodPut {
			body = api.LogLevel{Level: "debug"}
		}
		if strings.HasSuffix(e.path, "/drain") {
			body = api.DrainRequest{Force: true}
		}
		path := strings.ReplaceAll(e.path, "{backend}", address)
		status, text := ask(t, s, e.method, path, body, nil)
		if status != http.StatusOK {
			t.Errorf("%s %s: %d %s", e.method, path, status, text)
			continue
		}
		var got any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		op := doc["paths"].(object)[e.path].(object)[strings.ToLower(e.method)].(object)
		schema := op["responses"].(object)["200"].(object)["content"].(object)["application/json"].(object)["schema"].(object)
		if err := conforms(schemas, schema, got); err != nil {
			t.Errorf("%s %s: %v in %.300s", e.method, path, err, text)
		}
	}
	status, text := ask(t, s, http.MethodGet, "/v1/backends/nobody", nil, nil)
	var got any
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusNotFound {
		t.Fatalf("%d %s, %v", status, text, err)
	}
	if err := conforms(schemas, schemas["Error"].(object), got); err != nil {
		t.Errorf("an error: %v", err)
	}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// conforms is as much of JSON Schema as the description uses.
func conforms(schemas, schema object, v any) error {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		target, ok := schemas[name].(object)
		if !ok {
			return fmt.Errorf("no schema %s", ref)
		}
		return conforms(schemas, target, v)
	}
	if choices := asList(schema["oneOf"]); choices != nil {
		var errs []error
		for _, one := range choices {
			errs = append(errs, conforms(schemas, one.(object), v))
		}
		if !slices.Contains(errs, nil) {
			return fmt.Errorf("none of %v", errs)
		}
		return nil
	}
	wrong := fmt.Errorf("%v (%T) is no %v", v, v, schema["type"])
	switch schema["type"] {
	case "null":
		if v != nil {
			return wrong
		}
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong
		}
		if schema["format"] == "date-time" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil || at.Year() < 2000 {
				return fmt.Errorf("%q is no time: %w", text, errors.Join(err))
			}
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong
		}
	case "number", "integer":
		n, ok := v.(float64)
		if !ok || schema["type"] == "integer" && n != math.Trunc(n) || schema["minimum"] != nil && n < 0 {
			return wrong
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return wrong
		}
		for i, item := range list {
			if err := conforms(schemas, schema["items"].(object), item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case "object":
		fields, ok := v.(object)
		if !ok {
			return wrong
		}
		properties, _ := schema["properties"].(object)
		for name, value := range fields {
			property, known := properties[name].(object)
			if !known {
				if property, known = schema["additionalProperties"].(object); !known {
					return fmt.Errorf("field %q is not described", name)
				}
			}
			if err := conforms(schemas, property, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		for _, name := range asList(schema["required"]) {
			if _, there := fields[name.(string)]; !there {
				return fmt.Errorf("field %q is missing", name)
			}
		}
	default:
		return fmt.Errorf("a schema of type %v", schema["type"])
	}
	return nil
}
