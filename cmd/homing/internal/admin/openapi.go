package admin

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"time"

	"homing/cmd/homing/internal/api"
)

// object is a JSON object of the description.
type object = map[string]any

func (s *Server) openAPI(*http.Request) (object, error) {
	return describe(s.endpoints, s.src.Version), nil
}

// describe makes the OpenAPI 3.1 description of the endpoints, from their rows and from the types of what they take and
// give.
func describe(all []endpoint, version string) object {
	schemas := object{}
	paths := object{}
	for i := range all {
		e := &all[i]
		path := strings.TrimSuffix(e.path, "{$}")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(e.method)] = operation(e, schemas)
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "homing admin API", "version": version,
			"description": "What a running homing knows, and what it can be told. Where the server is reached from " +
				"other machines it wants a bearer token or a client certificate, but for /healthz and /readyz.",
		},
		"paths": paths,
		"components": object{
			"schemas": schemas,
			"securitySchemes": object{
				"token":       object{"type": "http", "scheme": "bearer"},
				"certificate": object{"type": "mutualTLS"},
			},
		},
		"security": []object{{"token": []string{}}, {"certificate": []string{}}, {}},
	}
}

func operation(e *endpoint, schemas object) object {
	op := object{"summary": e.summary, "operationId": operationID(e)}
	var params []object
	for part := range strings.SplitSeq(e.path, "/") {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(part, "}"), "{"); ok && name != "$" {
			doc := map[string]string{
				"backend": "Address, or name as configured.",
				"profile": "Name of the profile.",
			}[name]
			params = append(params, object{
				"name": name, "in": "path", "required": true, "description": doc,
				"schema": object{"type": "string"},
			})
		}
	}
	for _, q := range e.query {
		params = append(params, object{
			"name": q.name, "in": "query", "description": q.doc,
			"schema": object{"type": "string"},
		})
	}
	if params != nil {
		op["parameters"] = params
	}
	if e.request != nil {
		op["requestBody"] = object{
			"required": true,
			"content":  object{"application/json": object{"schema": schemaOf(e.request, schemas)}},
		}
	}
	media, schema := e.media, object{"type": "string"}
	if e.response != nil {
		media, schema = "application/json", schemaOf(e.response, schemas)
	}
	op["responses"] = object{
		"200": object{"description": "As asked.", "content": object{media: object{"schema": schema}}},
		"default": object{
			"description": "Why not.",
			"content": object{
				"application/json": object{"schema": schemaOf(reflect.TypeFor[api.Error](), schemas)},
			},
		},
	}
	if e.open {
		op["security"] = []object{{}}
	}
	return op
}

// operationID is a name for code generators, such as getBackendsBackend.
func operationID(e *endpoint) string {
	var id strings.Builder
	id.WriteString(strings.ToLower(e.method))
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(e.path, "/v1"),
		func(r rune) bool { return strings.ContainsRune("/-.{}$", r) }) {
		id.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return id.String()
}

// schemaOf describes a type; structs are put among the schemas and referred to by name.
func schemaOf(t reflect.Type, schemas object) object {
	if t == reflect.TypeFor[time.Time]() {
		return object{"type": "string", "format": "date-time"}
	}
	switch t.Kind() { //nolint:exhaustive // the default is for what no type of ours has
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	case reflect.Pointer:
		return object{"oneOf": []object{schemaOf(t.Elem(), schemas), {"type": "null"}}}
	case reflect.Struct:
		return structSchema(t, schemas)
	default:
		panic(fmt.Sprintf("no schema for %s", t)) // the types are ours, and a test describes them all
	}
}

func structSchema(t reflect.Type, schemas object) object {
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if schemas[t.Name()] != nil {
		return ref
	}
	properties, required := object{}, []string{}
	schema := object{"type": "object", "properties": properties, "additionalProperties": false}
	schemas[t.Name()] = schema
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		property := object{"description": api.DocOf(t, field)}
		maps.Copy(property, schemaOf(field.Type, schemas))
		properties[name] = property
		if !strings.HasPrefix(options, "omit") {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}
