package tlsclient

// Copy returns a client with the same session. What becomes of the copy's session does not touch this client's, so that
// one offer can be made to several servers.
func (c *Client) Copy() *Client {
	twin := &Client{tls: c.tls.Clone(), source: c.source, cache: &session{}}
	twin.cache.state, _ = c.cache.Get("")
	twin.tls.ClientSessionCache = twin.cache
	return twin
}

// Copy returns a client with the same session, as Client.Copy does.
func (c *IDClient) Copy() *IDClient {
	twin := *c
	return &twin
}
