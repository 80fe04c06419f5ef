package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"homing/bench"
)

func encode(t *testing.T, r *Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A report that has been on disk draws the same text and the same page.
func TestRoundTrip(t *testing.T) {
	before := fixture()
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, encode(t, before), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, got bytes.Buffer
	for _, err := range []error{before.WriteText(&want), WriteHTML(&want, before), after.WriteText(&got), WriteHTML(&got, after)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if !bytes.Equal(encode(t, before), encode(t, after)) {
		t.Error("the file written again is another")
	}
}

// testdata/v1.json is a report as the first version wrote it: every later one has to read it, and see the same in it.
func TestReadsTheFirstVersion(t *testing.T) {
	path := filepath.Join("testdata", "v1.json")
	if *update {
		if _, err := os.Stat(path); err == nil {
			t.Log("v1.json is never rewritten")
		} else if err := os.WriteFile(path, encode(t, small()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "v1.txt", b.Bytes())
}

func TestReadRefuses(t *testing.T) {
	var whole map[string]any
	if err := json.Unmarshal(encode(t, small()), &whole); err != nil {
		t.Fatal(err)
	}
	change := func(key string, value any) string {
		whole := map[string]any{}
		if err := json.Unmarshal(encode(t, small()), &whole); err != nil {
			t.Fatal(err)
		}
		whole[key] = value
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "this is no report of homing-bench compare --json: unexpected end of JSON input"},
		{"no JSON", "hello", "this is no report of homing-bench compare --json: invalid character"},
		{"other JSON", `{"schema": 1}`, "this is no report of homing-bench compare --json"},
		{"a later schema", change("schema", 2), "schema 2, and this homing-bench reads 1: draw it with the version that wrote it"},
		{"a wrong type", change("tests", "none"), "this is no report of homing-bench compare --json: json: cannot unmarshal"},
		{"cut short", change("title", "x")[:500], "this is no report of homing-bench compare --json: unexpected end of JSON input"},
	} {
		path := filepath.Join(t.TempDir(), "file.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+": "+c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that does not exist was read")
	}
}

func TestReadIgnoresWhatItDoesNotKnow(t *testing.T) {
	text := strings.Replace(string(encode(t, small())), `"schema": 1,`, `"schema": 1, "invented_later": {"a": [1, 2]},`, 1)
	r, err := decode(strings.NewReader(text))
	if err != nil || len(r.Tests) != 1 {
		t.Errorf("%v", err)
	}
}

// A report whose parts are missing, as somebody's own program may write it, is drawn without a panic.
func TestDrawsWhatIsBare(t *testing.T) {
	for _, r := range []*Report{
		{Schema: Schema},
		{Schema: Schema, Tests: []Test{{Key: "x", Scenario: "invented"}}},
		{Schema: Schema, Tests: []Test{{Key: "resume/psk/own", Scenario: string(bench.Resume), Arms: []Arm{{Key: "unknown", Rounds: []*Round{nil, {}}}}}}},
		{Schema: Schema, Tests: []Test{{Key: "churn/psk/own", Scenario: string(bench.Churn), Arms: []Arm{{Key: "a", Timeline: make([]bench.Tick, 7)}}}}},
		{Schema: Schema, Tests: []Test{{Key: "rate/psk/own", Scenario: string(bench.Rate), Arms: []Arm{{Key: "a", Rounds: []*Round{{Steps: []bench.Step{{}}}}}}}}},
	} {
		var b bytes.Buffer
		if err := r.WriteText(&b); err != nil {
			t.Error(err)
		}
		if err := WriteHTML(&b, r, r); err != nil {
			t.Error(err)
		}
		if err := WriteBeside(&b, r, r); err != nil {
			t.Error(err)
		}
		if strings.Contains(b.String(), "NaN") {
			t.Errorf("%+v is drawn with NaN", r.Tests)
		}
	}
}
