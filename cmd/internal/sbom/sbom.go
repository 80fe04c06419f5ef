// Package sbom writes what a program is made of, as the program itself says (debug/buildinfo): a bill of materials in
// CycloneDX's form, which scanners for vulnerable modules read.
package sbom

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/CycloneDX/cyclonedx-go"
)

// Write writes the bill of the program at path, which has the given name and version. The same program gives the same
// bytes.
func Write(w io.Writer, path, name, version string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("sbom: %s: %w", path, err)
	}
	bom := cyclonedx.NewBOM()
	root := cyclonedx.Component{BOMRef: name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version}
	bom.Metadata = &cyclonedx.Metadata{Component: &root}
	components := []cyclonedx.Component{library("std", info.GoVersion, "")}
	for _, m := range info.Deps {
		components = append(components, module(m))
	}
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: name, Dependencies: &refs}}
	encoder := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.Encode(bom); err != nil {
		return fmt.Errorf("sbom: %w", err)
	}
	return nil
}

func module(m *debug.Module) cyclonedx.Component {
	for m.Replace != nil {
		m = m.Replace
	}
	return library(m.Path, m.Version, m.Sum)
}

// library is one module, named as package URLs name those of Go (https://github.com/package-url/purl-spec).
func library(path, version, sum string) cyclonedx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if sum != "" { // go.sum's own kind of hash, over the module's files: no other is known of it
		c.Properties = &[]cyclonedx.Property{{Name: "go:sum", Value: sum}}
	}
	return c
}
