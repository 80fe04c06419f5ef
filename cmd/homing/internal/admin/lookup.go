package admin

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/balancer/rules"
	"homing/cmd/homing/internal/api"
	"homing/tlsparse"
)

// lookup says where a hello, or one with an identifier, would go. Both live in this request alone: they are in no path and
// no query, which proxies log, and no error repeats them.
func (s *Server) lookup(_ *http.Request, in *api.LookupRequest) (api.Lookup, error) {
	pools, err := s.poolsNamed(in.Pool)
	if err != nil {
		return api.Lookup{}, err
	}
	a, err := askedFor(in)
	defer clear(a.bytes)
	if err != nil {
		return api.Lookup{}, refusef(http.StatusBadRequest, "%v", err)
	}
	out := api.Lookup{Bytes: len(a.bytes), Matches: []api.Match{}}
	for _, p := range pools {
		known := s.src.Store.Pool(p.Hash())
		for _, kind := range a.kinds {
			offer, err := a.offer(known, kind)
			if err != nil {
				return api.Lookup{}, refusef(http.StatusBadRequest, "the hello %v", err)
			}
			out.Matches = append(out.Matches, viewDecision(p, known, &offer, s.src.Store.Now()))
		}
	}
	return out, nil
}

// asked is what a look-up asks for.
type asked struct {
	bytes  []byte               // an identifier or a hello; to be cleared
	kinds  []affinity.OfferKind // as which the identifier is offered; OfferNone: it is a hello, which says so itself
	client netip.Addr           // of the hello; may be not valid
}

// askedFor reads a request.
func askedFor(in *api.LookupRequest) (a asked, err error) {
	if in.Hello != "" {
		a.kinds = []affinity.OfferKind{affinity.OfferNone}
		if in.Identifier != "" || in.Kind != "" {
			return a, errors.New("a hello says itself what it offers: give no identifier and no kind with it")
		}
		if in.Client != "" {
			if a.client, err = netip.ParseAddr(in.Client); err != nil {
				return a, errors.New("the client is no IP address")
			}
		}
		if a.bytes, err = decodeBytes(in.Hello, tlsparse.MaxHelloLimit); err != nil {
			err = fmt.Errorf("the hello %w", err)
		}
		return a, err
	}
	if in.Client != "" {
		return a, errors.New("a client is known by its address and its hello: give the hello too")
	}
	if a.bytes, err = decodeBytes(in.Identifier, maxIdentifier); err != nil {
		return a, fmt.Errorf("the identifier %w", err)
	}
	short := len(a.bytes) <= maxSessionID
	switch {
	case in.Kind == "id" && !short:
		return a, fmt.Errorf("a session ID has at most %d bytes, this has %d", maxSessionID, len(a.bytes))
	case in.Kind == "id":
		a.kinds = []affinity.OfferKind{affinity.OfferID}
	case in.Kind == "" && short:
		a.kinds = []affinity.OfferKind{affinity.OfferID, affinity.OfferTicket}
	case in.Kind == "", in.Kind == "ticket", in.Kind == "psk":
		a.kinds = []affinity.OfferKind{affinity.OfferTicket}
	default:
		return a, fmt.Errorf("kind %.20q is none of id, ticket and psk", in.Kind)
	}
	return a, nil
}

// offer is what is asked for as a pool sees it.
func (a *asked) offer(known *affinity.Pool, kind affinity.OfferKind) (affinity.Offer, error) {
	offer := affinity.Offer{Kind: kind}
	switch kind {
	case affinity.OfferNone:
		return balancer.OfferOf(known, a.bytes, a.client)
	case affinity.OfferID:
		offer.ID, offer.HasID = known.HashID(a.bytes), true
	case affinity.OfferTicket, affinity.OfferPSK:
		offer.Add(known.HashIdent(a.bytes))
	}
	return offer, nil
}

// maxSessionID is the longest session ID (RFC 5246, 7.4.1.2), and maxIdentifier the longest ticket (RFC 5077, 4) and PSK
// identity (RFC 9846, 4.3.11).
const (
	maxSessionID  = 32
	maxIdentifier = 1<<16 - 1
)

// decodeBytes reads at most so many bytes in hex, with or without colons and spaces as openssl prints it, or base64 of
// any kind. What could be both is hex.
func decodeBytes(text string, most int) ([]byte, error) {
	plain := strings.NewReplacer(":", "", " ", "", "\n", "", "\t", "", "\r", "").Replace(text)
	b, err := hex.DecodeString(strings.TrimPrefix(plain, "0x"))
	if err != nil {
		unpadded := strings.TrimRight(plain, "=")
		if b, err = base64.RawStdEncoding.DecodeString(unpadded); err != nil {
			b, err = base64.RawURLEncoding.DecodeString(unpadded)
		}
	}
	switch {
	case err != nil:
		return nil, errors.New("is neither hex nor base64")
	case len(b) == 0:
		return nil, errors.New("is empty")
	case len(b) > most:
		return nil, fmt.Errorf("is longer than %d bytes, the longest that may be", most)
	}
	return b, nil
}

// viewDecision says where a hello with an offer goes now.
func viewDecision(p *pool.Pool, known *affinity.Pool, offer *affinity.Offer, now uint32) api.Match {
	snapshot, home := p.Snapshot(), known.Look(offer, now)
	q := rules.Question{Offer: offer, Home: &home, Tried: new(pool.Skip), Now: now}
	d := rules.Decide(&q, known, snapshot)
	view := api.Match{Pool: p.Name(), Kind: offer.Kind.String(), Rule: home.Source.String(), Homes: []string{}}
	homes := home.Set
	switch hint := known.Hint(offer, now); {
	case home.Any:
		for _, b := range snapshot.All() {
			view.Homes = append(view.Homes, b.Addr.String())
		}
	case home.ID != 0:
		homes = []uint32{home.ID}
	case home.Source == affinity.SourceExplore && hint != 0:
		homes = []uint32{hint}
	}
	for _, id := range homes {
		view.Homes = append(view.Homes, backendName(p, id))
	}
	if d.Rule != affinity.SourceFresh && d.Backend != nil { // else the policy decides, or chance
		view.Rule, view.Backend = d.Rule.String(), d.Backend.Addr.String()
	}
	if d.Why != pool.UsableOK {
		view.Why = d.Why.String()
	}
	if home.Expires > 0 {
		view.Expires = time.Unix(int64(home.Expires), 0).UTC()
	}
	if home.KeyLen > 0 {
		view.Key, view.Length = keyName(home.Key), home.KeyLen
	}
	return view
}
