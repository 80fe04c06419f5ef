package sbom

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// The bill of the generator names what the generator is made of.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "generate")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "./generate").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	var out, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&out, &again} {
		if err := Write(w, path, "homing", "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("a second bill is another")
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(&out, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.Name != "homing" || bom.Metadata.Component.Version != "v1" {
		t.Errorf("the bill is for %+v", bom.Metadata.Component)
	}
	found := map[string]string{}
	for _, c := range *bom.Components {
		found[c.Name] = c.Version
	}
	if found["std"] == "" || found["github.com/CycloneDX/cyclonedx-go"] == "" {
		t.Errorf("the bill names %v", found)
	}
	if err := Write(&out, "sbom.go", "homing", "v1"); err == nil {
		t.Error("a text has a bill")
	}
}
