package doctor

import (
	"fmt"
	"time"
)

// Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Note    Outcome = "note"    // worth knowing
	Warning Outcome = "warning" // works, but not as it should, or not for long
	Problem Outcome = "problem" // does not work
)

// Finding is the result of one check.
type Finding struct {
	Check   string  `json:"check"` // stable short name: config, disk, resolve, connect, tls, associate, contexts, echo, ...
	Outcome Outcome `json:"outcome"`
	Words   string  `json:"words"`            // what was found
	Advice  string  `json:"advice,omitempty"` // what to do about it
}

// Kind is what was examined.
type Kind string

// The kinds.
const (
	Machine     Kind = "machine" // with the configuration and the gateway that runs
	Destination Kind = "destination"
	Upstream    Kind = "upstream"
	Peer        Kind = "peer"
	Database    Kind = "database"
	Cloud       Kind = "cloud" // retrieve.cloud
)

// Examined is everything found about one thing.
type Examined struct {
	Kind     Kind      `json:"kind"`
	Name     string    `json:"name,omitempty"`
	Address  string    `json:"address,omitempty"`
	Findings []Finding `json:"findings"`
}

// Worst returns the gravest outcome.
func (e *Examined) Worst() Outcome {
	worst := OK
	for _, f := range e.Findings {
		for _, o := range []Outcome{Note, Warning, Problem} { // in their order
			if f.Outcome == o && rank(o) > rank(worst) {
				worst = o
			}
		}
	}
	return worst
}

func rank(o Outcome) int {
	return map[Outcome]int{OK: 0, Note: 1, Warning: 2, Problem: 3}[o]
}

func (e *Examined) add(check string, outcome Outcome, words, advice string) {
	e.Findings = append(e.Findings, Finding{check, outcome, words, advice})
}

func (e *Examined) ok(check, format string, args ...any) {
	e.add(check, OK, fmt.Sprintf(format, args...), "")
}

func (e *Examined) problem(check, words, advice string) { e.add(check, Problem, words, advice) }

// millis writes a duration for people.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
