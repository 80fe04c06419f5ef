package bench

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		says, in string
		want     answer
		rest     string
	}{
		{
			"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Backend: a\r\n\r\nhelloHTTP",
			answer{status: 200, body: 5, backend: []byte("a")},
			"HTTP",
		},
		{
			"no body", "HTTP/1.1 200 OK\r\ncontent-length:0\r\nCONNECTION: Close\r\nx-backend:  b \r\n\r\n",
			answer{status: 200, closes: true, backend: []byte("b")},
			"",
		},
		{"nothing to say", "HTTP/1.1 204 No Content\r\n\r\n", answer{status: 204}, ""},
		{"no reason, one line", "HTTP/1.1 204\r\n\r\n", answer{status: 204}, ""},
		{
			"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nmore",
			answer{status: 200, body: 13},
			"more",
		},
		{
			"a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
			answer{status: 200, body: 1},
			"",
		},
		{
			"an interim answer first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
			answer{status: 404, body: 1},
			"",
		},
	} {
		for cut := 0; cut <= len(c.in); cut++ { // at every place, and byte by byte
			var a answer
			var rest []byte
			var err error
			for _, piece := range []string{c.in[:cut], c.in[cut:]} {
				if a.state == answered {
					rest = append(rest, piece...)
				} else if rest, err = a.feed([]byte(piece)); err != nil {
					t.Fatalf("%s, cut at %d: %v", c.says, cut, err)
				}
			}
			checkAnswer(t, c.says, &a, &c.want, string(rest), c.rest)
		}
		var a answer
		var rest string
		for i := range len(c.in) {
			if a.state == answered {
				rest = c.in[i:]
				break
			}
			if _, err := a.feed([]byte(c.in[i : i+1])); err != nil {
				t.Fatalf("%s, byte %d: %v", c.says, i, err)
			}
		}
		checkAnswer(t, c.says+", byte by byte", &a, &c.want, rest, c.rest)
	}
}

func checkAnswer(t *testing.T, says string, a, want *answer, rest, wantRest string) {
	t.Helper()
	if a.state != answered || a.status != want.status || a.body != want.body || a.closes != want.closes ||
		string(a.backend) != string(want.backend) || rest != wantRest {
		t.Fatalf("%s: %+v and %q, want %+v and %q", says, a, rest, want, wantRest)
	}
}

func TestAnswerThatEndsWithTheConn(t *testing.T) {
	var a answer
	if _, err := a.feed([]byte("HTTP/1.0 200 OK\r\nX-Backend: c\r\n\r\nsome")); err != nil {
		t.Fatal(err)
	}
	if a.state == answered || !a.closes {
		t.Errorf("%+v", a)
	}
	if _, err := a.feed([]byte(" more")); err != nil || !a.end() || a.body != 9 || string(a.backend) != "c" {
		t.Errorf("%+v, %v", a, err)
	}
	a.reset()
	if _, err := a.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")); err != nil || a.end() {
		t.Errorf("an answer cut short is whole: %+v, %v", a, err)
	}
}

func TestAnswerThatIsNone(t *testing.T) {
	for _, in := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"HTTP/1.1 abc\r\n\r\n",
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 1000),
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 10000),
	} {
		var a answer
		if _, err := a.feed([]byte(in)); err == nil {
			t.Errorf("%.40q was taken for %+v", in, a)
		}
	}
}
