package gateway

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/text/language"
)

var (
	//go:embed admin.html
	adminPage string
	//go:embed admin.css
	adminStyle string

	adminTemplate = template.Must(template.New("admin").Parse(adminPage))
)

// adminPolicy lets the page be nothing but itself: no scripts, no other style than that with the digest, no frames around it.
var adminPolicy = func() string {
	digest := sha256.Sum256([]byte(adminStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// page shows the gateway to people: how it is, the last hour, and what needs them. It comes again by itself.
func (a *admin) page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", adminPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language")
	// A failed write means that the reader has gone.
	_ = adminTemplate.Execute(w, &page{Status: a.status(), Lang: languageOf(r), Style: template.CSS(adminStyle), now: time.Now(), history: a.history})
}

var pageLanguages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// languageOf is "zh" or "en": what the address says, else what the browser prefers.
func languageOf(r *http.Request) string {
	if lang := r.URL.Query().Get("lang"); lang == "zh" || lang == "en" {
		return lang
	}
	wanted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil || len(wanted) == 0 {
		return "en"
	}
	if _, i, confidence := pageLanguages.Match(wanted...); i == 1 && confidence > language.No {
		return "zh"
	}
	return "en"
}

// page is what the template shows, and the words it has for it.
type page struct {
	Status
	Lang    string
	Style   template.CSS
	now     time.Time
	history *history
}

// T gives a text in the language of the page.
func (p *page) T(text string) string {
	if p.Lang == "zh" {
		if word, ok := chinese[text]; ok {
			return word
		}
	}
	return text
}

// Kind names a kind of incident.
func (p *page) Kind(k IncidentKind) string { return p.T(string(k)) }

// Waiting counts the deliveries to come.
func (p *page) Waiting() (n int64) {
	for i := range p.Destinations {
		n += p.Destinations[i].Pending + p.Destinations[i].Active
	}
	return n
}

// NeedPerson counts the deliveries that do not go on by themselves.
func (p *page) NeedPerson() (n int64) {
	for i := range p.Destinations {
		n += p.Destinations[i].Parked
		if c := p.Destinations[i].Custody; c != nil {
			n += c.Refused
		}
	}
	return n
}

// Oldest is when the oldest instance that waits was received; zero if none does.
func (p *page) Oldest() (at time.Time) {
	for i := range p.Destinations {
		if o := p.Destinations[i].Oldest; !o.IsZero() && (at.IsZero() || o.Before(at)) {
			at = o
		}
	}
	return at
}

// Commitment writes how far a destination commits itself, nothing where it is not asked to.
func (p *page) Commitment(c *CustodyStatus) string {
	if c == nil {
		return ""
	}
	text := p.Num(c.Awaiting) + " " + p.T("awaited") + p.T(", ") + p.Num(c.Committed) + " " + p.T("committed") + p.T(", ") + p.Num(c.Refused) + " " + p.T("refused")
	if c.LastError != "" {
		text += p.T(", ") + p.T("degraded")
	}
	return text
}

// Sum adds two numbers.
func (p *page) Sum(a, b int64) string { return p.Num(a + b) }

// Num writes a number with thin spaces between its thousands.
func (p *page) Num(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// Rate writes a number per second.
func (p *page) Rate(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}

// Bytes writes a number of bytes in powers of 1000, as disks are sold.
func (p *page) Bytes(n int64) string {
	f, unit := float64(n), 0
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB"}
	for f >= 999.5 && unit < len(units)-1 {
		f /= 1000
		unit++
	}
	digits := 0
	if unit > 0 && f < 100 {
		digits = 1
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + "\u00a0" + units[unit]
}

// Speed writes bytes per second, nothing for none.
func (p *page) Speed(f float64) string {
	if f < 1 {
		return ""
	}
	return p.Bytes(int64(f)) + "/s"
}

// Clock is the gateway's time.
func (p *page) Clock() string { return p.now.Format("2006-01-02 15:04:05") }

// Age writes how long something has lasted, nothing for the zero time.
func (p *page) Age(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	d := max(p.now.Sub(since), 0)
	for _, u := range []struct {
		least, unit time.Duration
		name        string
	}{{48 * time.Hour, 24 * time.Hour, "d"}, {time.Hour, time.Hour, "h"}, {time.Minute, time.Minute, "min"}} {
		if d >= u.least {
			return strconv.FormatInt(int64(d/u.unit), 10) + "\u00a0" + p.T(u.name)
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "\u00a0" + p.T("s")
}

// Ago writes when something was.
func (p *page) Ago(at time.Time) string {
	switch age := p.Age(at); {
	case age == "":
		return ""
	case p.Lang == "zh":
		return age + "前"
	default:
		return age + " ago"
	}
}
