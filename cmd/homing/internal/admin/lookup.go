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
	now := s.src.Store.Now()
	for _, p := range pools {
		known := s.src.Store.Pool(p.Hash())
		var offer affinity.Offer
		offer.Add(known.HashIdent(identifier))
		refused := func(b *pool.Backend) bool { return known.WasRefused(&offer, uint32(b.ID), now) }
		for _, kind := range kinds {
			out.Matches = append(out.Matches, viewKnown(p, kind, known.Inspect(kind, identifier, now), refused))
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

// viewKnown says where a hello goes by what is known. refused are the backends that exploration passes over.
func viewKnown(p *pool.Pool, kind affinity.OfferKind, known affinity.Known, refused func(*pool.Backend) bool) api.Match {
	snapshot := p.Snapshot()
	view := api.Match{Pool: p.Name(), Kind: kind.String(), Rule: known.Source.String(), Homes: []string{}}
	for _, id := range known.Homes {
		view.Homes = append(view.Homes, backendName(p, id))
	}
	var goes *pool.Backend
	switch known.Source {
	case affinity.SourceSession, affinity.SourceTicketKey:
		switch {
		case known.Any:
			for _, b := range snapshot.All() {
				view.Homes = append(view.Homes, b.Addr.String())
			}
			goes = snapshot.Maglev(known.Hash, pool.Skip{})
		case len(known.Homes) > 1:
			var rather pool.Skip
			for _, id := range known.Doubted {
				rather.Add(pool.ID(id)) // beyond MaxSkip they count like the others
			}
			if goes = snapshot.MaglevOf(known.Hash, known.Homes, rather); goes == nil {
				goes = snapshot.MaglevOf(known.Hash, known.Homes, pool.Skip{})
			}
		default:
			home := snapshot.ByID(pool.ID(known.Homes[0]))
			if usable := snapshot.Usable(home); usable == pool.UsableOK {
				goes = home
			} else {
				view.Why = usable.String()
			}
		}
		if goes == nil && view.Why == "" {
			view.Why = pool.UsableDown.String()
		}
	case affinity.SourceExplore:
		if known.Hint != 0 {
			view.Homes = append(view.Homes, backendName(p, known.Hint))
		}
		if b := snapshot.ByID(pool.ID(known.Hint)); b != nil && snapshot.Usable(b) == pool.UsableOK {
			goes = b
		} else {
			goes = explored(snapshot, known.Hash, refused)
		}
	case affinity.SourceFresh, affinity.SourceClient:
	}
	if goes != nil {
		view.Backend = goes.Addr.String()
	}
	if known.Expires > 0 {
		view.Expires = time.Unix(int64(known.Expires), 0).UTC()
	}
	if known.KeyLen > 0 {
		view.Key, view.Length = keyName(known.Key), known.KeyLen
	}
	return view
}

// explored is the backend that an unknown ticket is tried at next; nil when all have refused its like: chance decides then.
func explored(s *pool.Snapshot, hash uint64, refused func(*pool.Backend) bool) *pool.Backend {
	var skip pool.Skip
	for {
		b := s.Maglev(hash, skip)
		if b == nil || !refused(b) || !skip.Add(b.ID) {
			return b
		}
	}
}
