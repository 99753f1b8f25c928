package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateLook is how often the files of a certificate are looked at.
const certificateLook = 10 * time.Second

// certificate is one that is read again when its files have changed, so that it can be renewed without a restart. If what
// is there cannot be used, the last good one stays.
type certificate struct {
	file string // PEM, leaf first
	key  Secret
	log  *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  string
	loaded *tls.Certificate
}

func loadCertificate(file string, key Secret, log *slog.Logger) (*certificate, error) {
	c := &certificate{file: file, key: key, log: log, looked: time.Now()}
	c.stamp = c.stampNow()
	loaded, err := loadKeyPair(file, key)
	c.loaded = &loaded
	return c, err
}

// stampNow changes when one of the files does.
func (c *certificate) stampNow() (stamp string) {
	keyFile, _ := c.key.path() // "" of one in the configuration
	for _, path := range []string{c.file, keyFile} {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprintf("%d %d ", info.ModTime().UnixNano(), info.Size())
		}
	}
	return stamp
}

// get is for tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateLook {
		c.looked = now
		c.renew()
	}
	return c.loaded, nil
}

func (c *certificate) renew() {
	stamp := c.stampNow()
	if stamp == c.stamp {
		return
	}
	loaded, err := loadKeyPair(c.file, c.key)
	if err != nil {
		c.log.Warn("certificate not renewed: its files cannot be used", "file", c.file, "error", err)
		return // and look again
	}
	c.stamp, c.loaded = stamp, &loaded
	c.log.Info("certificate renewed", "file", c.file)
}
