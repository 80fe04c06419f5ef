package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// WriteJSON writes the report as Read reads it.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// maxFile bounds what Read takes: a report of every scenario has a few MB.
const maxFile = 1 << 30

// Read reads a report from a file. Fields that this version does not know are ignored; a schema it does not know is an
// error, as is a file that is no report.
func Read(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	r, err := decode(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func decode(in io.Reader) (*Report, error) {
	const notOne = "this is no report of homing-bench compare --json"
	var head struct {
		Schema *int             `json:"schema"`
		Tests  *json.RawMessage `json:"tests"`
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", notOne, err)
	}
	if head.Schema == nil || head.Tests == nil {
		return nil, errors.New(notOne)
	}
	if *head.Schema != Schema {
		return nil, fmt.Errorf("schema %d, and this homing-bench reads %d: draw it with the version that wrote it", *head.Schema, Schema)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", notOne, err)
	}
	return r, nil
}
