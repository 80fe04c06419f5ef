package diagnose

import "slices"

// Goals of remedies.
const (
	goalHome    = "Bring each session to the backend that gave it"
	goalKey     = "Give all servers one ticket key (that does not help clients without tickets)"
	goalAllKey  = "Turn tickets on at every server, and give all of them one ticket key (that does not help clients without tickets)"
	goalTickets = "Turn tickets on"
	goalContext = "Let servers that share a ticket key take each other's tickets"
	goalShare   = "Let the balancers tell each other what they know"
	goalMore    = "Find out more before anything is changed"
	goalCache   = "Give each server a session cache that all its processes share"
)

// fixes returns the remedies for the problems of a report. Of those with the same goal one will do.
func fixes(r *Report) []Fix {
	found := func(codes ...string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return slices.Contains(codes, f.Code) })
	}
	mixed := found(CodeMixed)
	list := []Fix{}
	for _, g := range []struct {
		wanted bool
		goal   string
		fixes  func() []Fix
	}{
		{
			mixed || found(CodeApart, CodeAcross, CodeNoneAccepted, CodeTicketsUnnamed, CodeBySource, CodeBound, CodeCacheApart,
				CodeNoCacheAtAll, CodeAcrossCache), goalHome, homeFixes,
		},
		{found(CodeBalancers), goalShare, shareFixes},
		{found(CodeBound), goalContext, contextFixes},
		{mixed, goalAllKey, allKeyFixes},
		{!mixed && found(CodeApart, CodeAcross, CodeNoneAccepted, CodeTicketsUnnamed, CodeTicketRefused), goalKey, keyFixes},
		{!mixed && found(CodeRenewed, CodeNothingIssued, CodeNoTickets13), goalTickets, ticketFixes},
		{found(CodeCacheApart, CodeNoCacheAtAll, CodeNoCache), goalCache, cacheFixes},
		{found(CodeChanged, CodeMomentary, CodeUnsure), goalMore, moreFixes},
	} {
		if !g.wanted {
			continue
		}
		for _, f := range g.fixes() {
			f.Goal = g.goal
			list = append(list, f)
		}
	}
	if slices.ContainsFunc(r.Addresses, func(a Address) bool { return a.Schannel }) {
		// The session IDs tell what the server is: the others are of no use there.
		list = slices.DeleteFunc(list, func(f Fix) bool { return f.For != "homing" && f.For != "homing-bench" && f.For != "IIS" })
	}
	return list
}

func homeFixes() []Fix {
	return []Fix{{
		For:   "homing",
		Text:  "in place of the balancer there is; the backends stay as they are.",
		Lines: []string{"homing run --listen :443 --backend BACKEND1:443 --backend BACKEND2:443"},
	}}
}

// ticketFixes make servers give tickets.
func ticketFixes() []Fix {
	return []Fix{
		{For: "nginx", Text: "in the http block.", Lines: []string{"ssl_session_tickets on;"}},
		{For: "IIS", Text: "for the binding.", Lines: []string{iisTickets}},
		{
			For: "HAProxy", Text: "where it ends TLS: no-tls-tickets must not stand in ssl-default-bind-options nor in a bind line.",
			Lines: []string{"grep -n no-tls-tickets /etc/haproxy/haproxy.cfg"},
		},
		{For: "Apache", Text: "for the server.", Lines: []string{"SSLSessionTickets on"}},
		{For: "stunnel", Text: "for the service, in place of options = NO_TICKET.", Lines: []string{"options = -NO_TICKET"}},
	}
}

// allKeyFixes are keyFixes that turn tickets on too.
func allKeyFixes() []Fix {
	list := keyFixes()
	for i := range list {
		for _, on := range ticketFixes() {
			if on.For != list[i].For {
				continue
			}
			for _, line := range slices.Backward(on.Lines) {
				if !slices.Contains(list[i].Lines, line) {
					list[i].Lines = slices.Insert(list[i].Lines, 0, line)
				}
			}
		}
	}
	return list
}

// contextFixes make servers that share a key bind sessions to nothing that differs.
func contextFixes() []Fix {
	return []Fix{{
		For:   "Node.js",
		Text:  "among the options of the server, the same in every process.",
		Lines: []string{"https.createServer({ key, cert, ticketKeys, sessionIdContext: 'www' }, handler)"},
	}}
}

// shareFixes let balancers before the same backends share what they know of sessions.
func shareFixes() []Fix {
	return []Fix{
		{
			For:  "homing",
			Text: "one cluster of all nodes, with the same key files; each names its own address with --cluster-bind.",
			Lines: []string{
				"homing keygen > gossip.key; homing keygen > node.key    # once, then copy them to each",
				"homing run ... --cluster-bind 192.0.2.1:7946 --cluster-join 192.0.2.2:7946 --gossip-key-file gossip.key --node-key-file node.key",
			},
		},
		{
			For:  "HAProxy",
			Text: "the nodes as peers of the stick table.",
			Lines: []string{
				"peers nodes",
				"    peer NODE1 192.0.2.1:10000    # NODE1: its host name",
				"    peer NODE2 192.0.2.2:10000",
				"stick-table type binary len 32 size 100k expire 10h peers nodes",
			},
		},
	}
}

func moreFixes() []Fix {
	return []Fix{{For: "homing-bench", Text: "more offers, and each server by itself.", Lines: []string{
		"homing-bench diagnose --tries 50 HOST:PORT", "homing-bench diagnose SERVER1:443 SERVER2:443",
	}}}
}

const iisTickets = `netsh http update sslcert ipport=0.0.0.0:443 certhash=HASH appid=ID enablesessionticket=enable    # HASH, ID: netsh http show sslcert`

// keyFixes give all servers the same ticket key. Session caches stay apart.
func keyFixes() []Fix {
	return []Fix{
		{
			For:  "nginx",
			Text: "the same key file on every server, in the http block, renewed every day or so.",
			Lines: []string{
				"openssl rand 80 > /etc/nginx/ticket.key    # once, then copy it to each",
				"ssl_session_tickets on;",
				"ssl_session_ticket_key /etc/nginx/ticket.key;",
			},
		},
		{
			For:  "IIS",
			Text: "the same key file on every server (PowerShell as administrator), and tickets turned on for the binding.",
			Lines: []string{
				`$pw = Read-Host -AsSecureString`,
				`New-TlsSessionTicketKey -Password $pw -Path C:\KeyConfig\TlsSessionTicketKey.config    # once, then copy it to each`,
				`Enable-TlsSessionTicketKey -Password $pw -Path C:\KeyConfig\TlsSessionTicketKey.config -ServiceAccountName System`,
				iisTickets,
			},
		},
		{
			For:  "HAProxy",
			Text: "where it ends TLS: the same file of three keys on every node.",
			Lines: []string{
				"for i in 1 2 3; do openssl rand -base64 80 | tr -d '\\n'; echo; done > /etc/haproxy/ticket.keys    # once, then copy it to each",
				"bind :443 ssl crt site.pem tls-ticket-keys /etc/haproxy/ticket.keys",
			},
		},
		{
			For:  "Apache",
			Text: "the same key file on every server.",
			Lines: []string{
				"openssl rand 48 > /etc/apache2/ticket.key    # once, then copy it to each",
				"SSLSessionTicketKeyFile /etc/apache2/ticket.key",
			},
		},
	}
}

// cacheFixes give a server a session cache that all its processes share. No two servers can share one.
func cacheFixes() []Fix {
	return []Fix{
		{
			For:  "nginx",
			Text: "in the http block, for the default server of the port decides.",
			Lines: []string{
				"ssl_session_cache shared:SSL:10m;",
				"ssl_session_timeout 1h;",
			},
		},
		{
			For:  "IIS",
			Text: "there is one unless one of these values is 0 (PowerShell as administrator; restart the server then).",
			Lines: []string{
				`$key = 'HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL'`,
				`Get-ItemProperty $key | Select-Object ServerCacheTime, MaximumCacheSize`,
				`Set-ItemProperty $key ServerCacheTime 36000000 -Type DWord    # milliseconds: 10 h, as without the value`,
				`Set-ItemProperty $key MaximumCacheSize 20000 -Type DWord      # sessions, as without the value`,
			},
		},
		{
			For:  "HAProxy",
			Text: "where it ends TLS, in the section global.",
			Lines: []string{
				"tune.ssl.cachesize 100000",
				"tune.ssl.lifetime 3600",
			},
		},
		{
			For:  "Apache",
			Text: "for the server.",
			Lines: []string{
				"SSLSessionCache shmcb:/run/apache2/ssl_scache(512000)",
				"SSLSessionCacheTimeout 3600",
			},
		},
	}
}
