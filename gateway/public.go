package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"dcmgate/cloud"
	"dcmgate/web"
)

// maxPublicURL leaves room for a link in what 203 allows for an address.
const maxPublicURL = 384

func (v *validator) public(raw *rawPublic) Public {
	p := Public{
		Listen: parsed(v, raw.Listen, parseListen),
		URL:    parsed(v, raw.URL, parseBaseURL),
		Limits: web.Limits{
			Connections:           v.whole(raw.Connections, 1, 100_000),
			ConnectionsPerAddress: v.whole(raw.ConnectionsPerAddress, 1, 100_000),
			RequestsPerSecond:     v.whole(raw.RequestsPerSecond, 1, 1_000_000),
			RequestsPerClient:     v.whole(raw.RequestsPerClient, 1, 1_000_000),
		},
		WriteTimeout: v.duration(raw.WriteTimeout, time.Second, time.Hour),
		TLS:          v.publicTLS(&raw.TLS),
	}
	return p
}

func (v *validator) publicTLS(raw *rawPublicTLS) PublicTLS {
	t := PublicTLS{Cert: v.text(raw.Cert, 4096), ClientCA: v.text(raw.ClientCA, 4096)}
	if raw.Key.Set {
		t.Key = v.keyFile(raw.Key)
	}
	if (t.Cert == "") != (t.Key == Secret{}) || t.Cert == "" && t.ClientCA != "" {
		v.fail(raw.at, "cert and key are needed to serve with TLS")
	}
	return t
}

// parseBaseURL takes the beginning of addresses as clients see them.
func parseBaseURL(s string) (string, error) { return parseURL(s, "http", "https") }

// parseFolderURL is parseBaseURL for a folder that an FTP server may share.
func parseFolderURL(s string) (string, error) { return parseURL(s, "http", "https", "ftp") }

func parseURL(s string, schemes ...string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(s) > maxPublicURL {
		return "", fmt.Errorf("%q is not the beginning of an address, such as https://images.example.org", s)
	}
	for len(s) > 0 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s, nil
}

func (v *validator) retrieve(raw *rawRetrieve) Retrieve {
	r := Retrieve{
		Signature:       oneOf(v, raw.Signature, cloud.RuleMD5, cloud.RuleAES, cloud.RuleNone),
		ReplayWindow:    v.duration(raw.ReplayWindow, 0, 24*time.Hour),
		TimeStampNeeded: v.truth(raw.TimeStampNeeded),
		LinkLifetime:    v.duration(raw.LinkLifetime, time.Minute, 30*24*time.Hour),
		UpstreamWait:    v.duration(raw.UpstreamWait, 0, 10*time.Minute),
	}
	seen := make(map[string]int)
	for i := range raw.Clients {
		c := &raw.Clients[i]
		client := Client{AccessKey: v.text(c.AccessKey, 256), AccessSecret: v.secret(c.AccessSecret), IV: v.secret(c.IV)}
		if c.AccessKey.Text == "" || c.AccessSecret.Text == "" {
			v.fail(c.at, "access_key and access_secret are needed")
		} else if first, ok := seen[client.AccessKey]; ok {
			v.fail(c.AccessKey.at, "access key is already that of clients[%d]", first)
		}
		if r.Signature == cloud.RuleAES && c.IV.Text == "" {
			v.fail(c.at, "iv is needed with signature aes")
		}
		seen[client.AccessKey] = i
		r.Clients = append(r.Clients, client)
	}
	r.Serve = len(r.Clients) > 0 || r.Signature == cloud.RuleNone
	return r
}

// served remarks on what is configured for the public listener and comes to nothing.
func (v *validator) served(cfg *Config, raw *rawConfig) {
	r := &cfg.Retrieve
	switch {
	case !r.Serve && (raw.Public.set || raw.Retrieve.set):
		v.note("retrieve: there are no clients, so interface 203 is not served")
	case !r.Serve:
	case cfg.Public.Listen == "":
		v.note("retrieve: public.listen is off, so interface 203 is not served")
	case cfg.Institution.Code == "" && cfg.Institution.PlatformCode == "":
		v.note("retrieve: institution has neither code nor platform_code, so HospitalCode is not compared")
	}
	if r.Signature == cloud.RuleNone {
		v.note("retrieve: signature is none: whoever reaches public.listen can have every image")
	}
}

// servesPublic tells whether there is something to serve on the public listener.
func (c *Config) servesPublic() bool { return c.Retrieve.Serve && c.Public.Listen != "" }

// sharesListener tells whether people and the standard's clients come to the same address.
func (c *Config) sharesListener() bool {
	return c.servesPublic() && c.Public.Listen == c.HTTP.Listen && c.Public.Listen != ListenPassed && !strings.HasSuffix(c.Public.Listen, ":0")
}

// load reads the keys of the clients.
func (r *Retrieve) load() ([]cloud.Key, error) {
	var keys []cloud.Key
	for i, c := range r.Clients {
		key := cloud.Key{AccessKey: c.AccessKey}
		var err error
		if key.AccessSecret, err = c.AccessSecret.Read(); err == nil {
			key.IV, err = c.IV.Read()
		}
		if err == nil {
			_, err = cloud.NewSigner(r.Signature, key)
		}
		if err != nil {
			return nil, &keyError{fmt.Sprintf("retrieve.clients[%d].access_secret", i), err}
		}
		keys = append(keys, key)
	}
	return keys, nil
}
