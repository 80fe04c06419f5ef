package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"homing/cmd/homing/internal/api"
)

// endpoint is one thing that the server answers: all there is to say of it. The mux, the checks before a handler and
// the OpenAPI description are made of these.
type endpoint struct {
	method, path string
	summary      string
	query        []param
	request      reflect.Type // nil: no body
	response     reflect.Type // nil: not JSON, see media
	media        string       // of a response that is not JSON
	open         bool         // without a token or certificate: says nothing that is worth one
	free         bool         // answered at once, however much is under way
	serve        func(*Server, http.ResponseWriter, *http.Request)
}

// param is a parameter of the query; all are optional.
type param struct{ name, doc string }

// maxBody bounds a request: a session identifier is the longest, 64 KiB of TLS in base64 or hex.
const maxBody = 192 << 10

// refusal is an answer that says no.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refusef(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// read is an endpoint that changes nothing.
func read[Out any](path, summary string, answer func(*Server, *http.Request) (Out, error), query ...param) endpoint {
	return endpoint{
		method: http.MethodGet, path: path, summary: summary, query: query, response: reflect.TypeFor[Out](),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request) {
			out, err := answer(s, r)
			respond(w, out, err)
		},
	}
}

// change is an endpoint that is told something in JSON.
func change[In, Out any](method, path, summary string,
	do func(*Server, *http.Request, *In) (Out, error), query ...param,
) endpoint {
	return endpoint{
		method: method, path: path, summary: summary, query: query, request: reflect.TypeFor[In](),
		response: reflect.TypeFor[Out](),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request) {
			var in In
			if err := parse(w, r, &in); err != nil {
				respond(w, nil, err)
				return
			}
			out, err := do(s, r, &in)
			// From now, however long it took: an upgrade may take longer than writing an answer may.
			// A recorder of a test has no deadline.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
			respond(w, out, err)
		},
	}
}

// raw is an endpoint that does not speak JSON.
func raw(path, media, summary string, handler func(*Server) http.Handler, query ...param) endpoint {
	return endpoint{
		method: http.MethodGet, path: path, summary: summary, query: query, media: media,
		serve: func(s *Server, w http.ResponseWriter, r *http.Request) { handler(s).ServeHTTP(w, r) },
	}
}

// parse reads the body as exactly one JSON value without unknown fields.
func parse(w http.ResponseWriter, r *http.Request, in any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(in)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the value")
		}
	}
	if long, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refusef(http.StatusRequestEntityTooLarge, "the request is longer than %d bytes", long.Limit)
	}
	if err != nil {
		return refusef(http.StatusBadRequest, "the request is not the JSON that is expected (see /v1/openapi.json): %s",
			jsonError(err))
	}
	return nil
}

// jsonError words an error of the decoder without the bytes that it met, which may be an identifier.
func jsonError(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%q is a %s", wrong.Field, wrong.Value)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("syntax error at byte %d", syntax.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends early"
	}
	return err.Error()
}

// respond writes an answer, or why there is none.
func respond(w http.ResponseWriter, out any, err error) {
	status := http.StatusOK
	if err != nil {
		status, out = http.StatusInternalServerError, api.Error{Error: err.Error()}
		if no, ok := errors.AsType[*refusal](err); ok {
			status = no.status
		}
	}
	w.Header().Set("Content-Type", "application/json")
	// Not json.Marshal: a page asks for 100 KB every second, which would be copied twice and collected as often.
	to := &afterHeader{w, status, false}
	if err := json.NewEncoder(to).Encode(out); err != nil && !to.begun { // a bug: our own types can be encoded
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// afterHeader writes the status before the first byte of a body; an encoder writes once, when nothing can go wrong any
// more but the conn.
type afterHeader struct {
	http.ResponseWriter
	status int
	begun  bool
}

// Write implements io.Writer.
func (w *afterHeader) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.WriteHeader(w.status)
	}
	return w.ResponseWriter.Write(b)
}
