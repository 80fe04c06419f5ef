package admin

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/balancer/route"
	"homing/cmd/homing/internal/api"
)

// lookup says where a hello with an identifier would go. The identifier lives in this request alone: it is in no path and
// no query, which proxies log, and no error repeats it.
func (s *Server) lookup(_ *http.Request, in *api.LookupRequest) (api.Lookup, error) {
	pools, err := s.poolsNamed(in.Pool)
	if err != nil {
		return api.Lookup{}, err
	}
	identifier, err := decodeIdentifier(in.Identifier)
	if err != nil {
		return api.Lookup{}, refusef(http.StatusBadRequest, "the identifier %v", err)
	}
	defer clear(identifier)
	var kinds []affinity.OfferKind
	switch in.Kind {
	case "id":
		kinds = []affinity.OfferKind{affinity.OfferID}
	case "ticket", "psk":
		kinds = []affinity.OfferKind{affinity.OfferTicket}
	case "":
		kinds = []affinity.OfferKind{affinity.OfferTicket}
		if len(identifier) <= maxSessionID {
			kinds = []affinity.OfferKind{affinity.OfferID, affinity.OfferTicket}
		}
	default:
		return api.Lookup{}, refusef(http.StatusBadRequest, "kind %.20q is none of id, ticket and psk", in.Kind)
	}
	if in.Kind == "id" && len(identifier) > maxSessionID {
		return api.Lookup{}, refusef(http.StatusBadRequest, "a session ID has at most %d bytes, this has %d", maxSessionID, len(identifier))
	}
	out := api.Lookup{Bytes: len(identifier), Matches: []api.Match{}}
	for _, p := range pools {
		known := s.src.Store.Pool(p.Hash())
		for _, kind := range kinds {
			offer := affinity.Offer{Kind: kind}
			if kind == affinity.OfferID {
				offer.ID, offer.HasID = known.HashID(identifier), true
			} else {
				offer.Add(known.HashIdent(identifier))
			}
			out.Matches = append(out.Matches, viewRoute(p, known, &offer, s.src.Store.Now()))
		}
	}
	return out, nil
}

// maxSessionID is the longest session ID (RFC 5246, 7.4.1.2), and maxIdentifier the longest ticket (RFC 5077, 4) and PSK
// identity (RFC 9846, 4.3.11).
const (
	maxSessionID  = 32
	maxIdentifier = 1<<16 - 1
)

// decodeIdentifier reads hex, with or without colons and spaces as openssl prints it, or base64 of any kind. What could be
// both is hex.
func decodeIdentifier(text string) ([]byte, error) {
	plain := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == '\n' || r == '\t' || r == '\r' }), "")
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
	case len(b) > maxIdentifier:
		return nil, errors.New("is longer than 65,535 bytes, the longest that TLS has")
	}
	return b, nil
}

// viewRoute says where a hello with an offer goes now.
func viewRoute(p *pool.Pool, known *affinity.Pool, offer *affinity.Offer, now uint32) api.Match {
	snapshot, home := p.Snapshot(), known.Look(offer, now)
	q := route.Question{Offer: offer, Home: &home, Tried: new(pool.Skip), Now: now}
	d := route.Decide(&q, known, snapshot)
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
	if d.Rule != affinity.SourceFresh { // else the policy decides, or chance
		view.Backend = d.Backend.Addr.String()
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
