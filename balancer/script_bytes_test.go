//go:build linux

package balancer

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/proxyheader"
)

// chunk is bytes that somebody has said, and what a script calls them.
type chunk struct {
	bytes []byte
	name  string
}

// things are the bytes of words, each of which is known by its name from now on.
func (s *script) things(by string, words []string) (all []byte) {
	for _, w := range words {
		b := s.thing(by, w)
		all = append(all, b...)
		if n := strings.TrimPrefix(by, "client"); n != "" && !strings.HasPrefix(w, `"`) {
			w += "/" + strings.TrimSpace(n)
		}
		if !slices.ContainsFunc(s.said, func(c chunk) bool { return bytes.Equal(c.bytes, b) }) {
			s.said = append(s.said, chunk{b, w})
		}
	}
	slices.SortStableFunc(s.said, func(a, b chunk) int { return len(b.bytes) - len(a.bytes) })
	return all
}

// thing makes bytes: WORD, WORD:OPTION,OPTION, WORD:OPTION[from:to] or "text".
func (s *script) thing(by, w string) []byte {
	if strings.HasPrefix(w, `"`) {
		text, err := strconv.Unquote(strings.ReplaceAll(w, "_", " "))
		if err != nil {
			s.Fatalf("%s: %v", w, err)
		}
		return []byte(text)
	}
	w, cut, isCut := strings.Cut(strings.TrimSuffix(w, "]"), "[")
	word, options, _ := strings.Cut(w, ":")
	var b []byte
	switch word {
	case "hello":
		b = s.hello(options)
	case "accepted13":
		b = join(answer{tls13: true, psk: 1}.bytes(), appData(300))
	case "refused13":
		b = join(answer{tls13: true}.bytes(), appData(2000))
	case "accepted12":
		b = join(answer{}.bytes(), ccs(), finished())
	case "refused12":
		b = join(answer{}.bytes(), certificate(2000), helloDone())
	case "renewed12": // by the ticket of that name
		if s.tickets[options] == nil {
			s.tickets[options] = named("name of ticket "+options, int(options[0]))
		}
		b = join(answer{}.bytes(), newTicket(300, s.tickets[options]), ccs(), finished())
	case "keyexchange":
		b = records(22, message(16, make([]byte, 66)), 1<<14)
	case "serverhello12":
		b = answer{}.bytes()
	case "retry":
		b = answer{retry: true}.bytes()
	case "ccs":
		b = ccs()
	case "finished":
		b = finished()
	case "data":
		b = appData(s.number(options))
	case "bulk":
		b = make([]byte, s.number(options))
	case "alert":
		b = alert(2, byte(s.number(options)))
	case "warning":
		b = alert(1, byte(s.number(options)))
	default:
		s.Fatalf("unknown bytes: %s", w)
	}
	if len(b) > 11 && b[0] == 22 && b[5] <= 2 && word != "retry" { // a hello: whose it is shows in its random
		b[11+3] = by[len(by)-1]
	}
	if isCut {
		from, to, _ := strings.Cut(cut, ":")
		if to != "" {
			b = b[:s.number(to)]
		}
		if from != "" {
			b = b[s.number(from):]
		}
	}
	return b
}

func (s *script) hello(options string) []byte {
	var h hello
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if (key == "psk" || key == "ticket") && s.tickets[value] == nil {
			s.tickets[value] = named("name of ticket "+value, int(value[0]))
		}
		switch key {
		case "":
		case "psk":
			h.psks = append(h.psks, s.tickets[value])
		case "ticket":
			h.ticket = s.tickets[value]
		case "id":
			h.id = fixed(value[0])
		case "name":
			h.names = append(h.names, value)
		case "pad":
			h.pad = s.number(value)
		case "tls13":
			h.tls13 = true
		case "early":
			h.early = true
		case "ech":
			h.ech = true
		default:
			s.Fatalf("unknown option of a hello: %s", option)
		}
	}
	return h.bytes()
}

// text says what bytes are, by who has said them.
func (s *script) text(b []byte) string {
	var words []string
	if n, h, status := proxyheader.Read(b); status == proxyheader.Got {
		name := ""
		if len(h.Name) > 0 {
			name = " " + string(h.Name)
		}
		words = append(words, fmt.Sprintf("PROXY(%v>%v%s)", h.Client, h.Local, name))
		b = b[n:]
	}
	for len(b) > 0 {
		i := slices.IndexFunc(s.said, func(c chunk) bool { return len(c.bytes) > 0 && bytes.HasPrefix(b, c.bytes) })
		if i < 0 {
			// A part of something, or the end of something.
			for _, c := range s.said {
				if at := bytes.Index(c.bytes, b); at >= 0 {
					return strings.Join(append(words, fmt.Sprintf("%s[%d:%d]", c.name, at, at+len(b))), " ")
				}
			}
			return strings.Join(append(words, fmt.Sprintf("%d bytes of something else", len(b))), " ")
		}
		words = append(words, s.said[i].name)
		b = b[len(s.said[i].bytes):]
	}
	return strings.Join(words, " ")
}

// told is a conn's record in a line.
func (s *script) told(r *ConnRecord) string {
	words := []string{"ended", r.Termination.String(), "hello=" + r.Hello.String()}
	add := func(key string, value any, is bool) {
		if is {
			words = append(words, fmt.Sprintf("%s=%v", key, value))
		}
	}
	add("refused", r.Refused, r.Refused != RefusedNone)
	add("client", r.Client, r.Client.Port() != 4711)
	add("backend", s.numberOf(r.Backend), r.Backend.IsValid())
	add("offer", r.Offer, r.Offer != affinity.OfferNone)
	add("source", r.Source, r.Source != affinity.SourceFresh)
	add("verdict", r.Verdict, r.Verdict != VerdictNone)
	add("lost", r.Lost, r.Lost != LostNone)
	add("tries", r.Tries, r.Tries != 1)
	add("connect_err", strconv.Quote(r.ConnectErr), r.ConnectErr != "")
	tenths := func(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
	add("hello_time", tenths(r.HelloTime), r.HelloTime != 0)
	add("queue_time", tenths(r.QueueTime), r.QueueTime != 0)
	add("connect_time", tenths(r.ConnectTime), r.ConnectTime != 0)
	add("answer_time", tenths(r.AnswerTime), r.AnswerTime != 0)
	return strings.Join(words, " ")
}
