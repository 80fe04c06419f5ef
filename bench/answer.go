package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	// maxHead bounds the status line and headers of an answer, in bytes; servers send some hundred.
	maxHead = 32 << 10
	// maxChunkLine bounds the line before a chunk, in bytes: a size in hexadecimal, and extensions nobody sends.
	maxChunkLine = 256
)

// answerState is where in an HTTP/1.1 answer a parser is.
type answerState uint8

const (
	inHead      answerState = iota // RFC 9112 section 4 and 5
	inBody                         // left bytes remain, section 6.3
	inChunkLine                    // section 7.1
	inChunk                        // left bytes of it remain, its CR LF included
	inTrailer                      // behind the last chunk, up to an empty line
	untilEnd                       // a body that ends with the conn
	answered                       // whole
)

// answer reads one HTTP/1.1 answer in any chunking. It keeps what says who answered and how much came.
type answer struct {
	state   answerState
	status  int
	backend []byte // header X-Backend; valid until reset
	closes  bool   // the server closes behind this answer
	body    int64  // bytes of body so far
	left    int64
	line    []byte // head or line read so far
}

func (a *answer) reset() { *a = answer{line: a.line[:0]} }

// feed takes bytes and returns those behind the answer. The answer is whole when state is answered; what is left over
// then is the beginning of the next, or a fault.
func (a *answer) feed(b []byte) (rest []byte, err error) {
	for len(b) > 0 && a.state != answered {
		switch a.state {
		case inHead:
			b, err = a.feedHead(b)
		case inBody, inChunk:
			n := min(a.left, int64(len(b)))
			a.left -= n
			b = b[n:]
			a.body += n
			if a.left > 0 {
				break
			}
			if a.state == inBody {
				a.state = answered
			} else {
				a.body -= 2 // the chunk's CR LF
				a.state = inChunkLine
			}
		case inChunkLine:
			b, err = a.feedChunkLine(b)
		case inTrailer:
			var line []byte
			if line, b, err = a.feedLine(b); line != nil && len(line) == 0 {
				a.state = answered
			}
		case untilEnd:
			a.body += int64(len(b))
			b = nil
		case answered:
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// end tells that the conn has ended, and reports whether that is the end of a whole answer.
func (a *answer) end() bool {
	if a.state == untilEnd {
		a.state = answered
	}
	return a.state == answered
}

var headEnd = []byte("\r\n\r\n") //nolint:gochecknoglobals // a constant, but for the language

func (a *answer) feedHead(b []byte) ([]byte, error) {
	had := len(a.line)
	a.line = append(a.line, b[:min(len(b), maxHead+4-had)]...)
	// The end may stand across two feeds.
	from := max(0, had-len(headEnd)+1)
	at := bytes.Index(a.line[from:], headEnd)
	if at < 0 {
		if len(a.line) >= maxHead {
			return nil, fmt.Errorf("the head of the answer is longer than %d bytes", maxHead)
		}
		return nil, nil
	}
	head := a.line[:from+at]
	b = b[from+at+len(headEnd)-had:]
	if err := a.readHead(head); err != nil {
		return nil, err
	}
	// An interim answer (RFC 9110 section 15.2) is followed by the real one.
	if a.status/100 == 1 {
		a.state = inHead
	}
	a.line = a.line[:0]
	return b, nil
}

// readHead reads the status line and the fields that matter.
func (a *answer) readHead(head []byte) error {
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(status) < 12 || !bytes.HasPrefix(status, []byte("HTTP/1.")) || status[8] != ' ' {
		return fmt.Errorf("the answer begins with %.40q, not with an HTTP/1.1 status line", head)
	}
	var err error
	if a.status, err = strconv.Atoi(string(status[9:12])); err != nil {
		return fmt.Errorf("the answer's status is %.40q", status)
	}
	a.state, a.left = untilEnd, -1
	a.closes = status[7] == '0'
	chunked := false
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, ok := bytes.Cut(field, []byte(":"))
		if !ok {
			return fmt.Errorf("the answer has the header line %.40q", field)
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if a.left, err = strconv.ParseInt(string(value), 10, 64); err != nil || a.left < 0 {
				return fmt.Errorf("the answer has the Content-Length %.40q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			a.closes = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("X-Backend")):
			a.backend = append(a.backend[:0], value...)
		}
	}
	switch {
	case a.status == 204 || a.status == 304 || !chunked && a.left == 0:
		a.state = answered
	case chunked: // it overrides a Content-Length, RFC 9112 section 6.3
		a.state = inChunkLine
	case a.left > 0:
		a.state = inBody
	}
	return nil
}

func (a *answer) feedChunkLine(b []byte) ([]byte, error) {
	line, b, err := a.feedLine(b)
	if line == nil || err != nil {
		return b, err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 62)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("the answer has a chunk of size %.40q", line)
	}
	if n == 0 {
		a.state = inTrailer
		return b, nil
	}
	a.state, a.left = inChunk, n+2
	return b, nil
}

// feedLine returns a line without its end once it is whole, else nil.
func (a *answer) feedLine(b []byte) (line, rest []byte, err error) {
	line, rest, whole := bytes.Cut(b, []byte{'\n'})
	a.line = append(a.line, line...)
	if len(a.line) > maxChunkLine {
		return nil, nil, errors.New("the answer has a chunk without a size")
	}
	if !whole {
		return nil, nil, nil
	}
	line = a.line
	a.line = line[:0]
	if line == nil {
		line = []byte{}
	}
	return bytes.TrimSuffix(line, []byte("\r")), rest, nil
}
