package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dcmgate/gateway"
)

// trendLength is how many samples of a rate are drawn.
const trendLength = 24

// sample is the gateway at one moment.
type sample struct {
	at     time.Time
	status gateway.Status
}

// trends remembers how fast things have gone, by name, between the samples so far.
type trends struct {
	last  *sample
	rates map[string][]float64
}

// rate is a name of trends with the counter that it is of.
type rate struct {
	name string
	n    int64
}

func counters(s *gateway.Status) []rate {
	list := []rate{
		{"received", s.Received.Instances}, {"received bytes", s.Activity.ReceivedBytes},
		{"delivered", s.Activity.Delivered}, {"delivered bytes", s.Activity.DeliveredBytes},
		{"queries", s.Activity.Queries}, {"retrievals", s.Activity.Retrievals}, {"requests", s.Activity.Requests},
	}
	for i := range s.Destinations {
		list = append(list, rate{"to " + s.Destinations[i].Name, s.Destinations[i].Delivered})
	}
	return list
}

// add takes the next sample. A gateway that was started anew begins anew.
func (t *trends) add(s sample) {
	if t.last == nil || !t.last.status.Started.Equal(s.status.Started) || !s.status.Running {
		t.rates = make(map[string][]float64)
		t.last = &s
		return
	}
	before := make(map[string]int64)
	for _, c := range counters(&t.last.status) {
		before[c.name] = c.n
	}
	seconds := s.at.Sub(t.last.at).Seconds()
	rates := make(map[string][]float64)
	for _, c := range counters(&s.status) {
		n, known := before[c.name]
		if !known || seconds <= 0 {
			continue
		}
		list := append(t.rates[c.name], max(float64(c.n-n), 0)/seconds)
		rates[c.name] = list[max(len(list)-trendLength, 0):]
	}
	t.rates, t.last = rates, &s
}

// now is the rate between the last two samples.
func (t *trends) now(name string) float64 {
	if list := t.rates[name]; len(list) > 0 {
		return list[len(list)-1]
	}
	return 0
}

// spark draws a rate as it was, in at most so many columns.
func (t *trends) spark(name string, columns int) string {
	list := t.rates[name]
	list = list[max(len(list)-max(columns, 0), 0):]
	top := 0.
	if len(list) > 0 {
		top = slices.Max(list)
	}
	if top == 0 {
		return strings.Repeat("▁", len(list))
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range list {
		b.WriteRune(levels[int(v/top*float64(len(levels)-1)+.5)])
	}
	return b.String()
}

// emphasis of a line on a terminal.
type emphasis string

const (
	plain emphasis = ""
	bold  emphasis = "\x1b[1m"
	alarm emphasis = "\x1b[31m"
)

// screenLine is one line, without the emphasis.
type screenLine struct {
	text string
	emphasis
}

// section is lines that belong together; those beyond the first may be left out where there is no room.
type section []screenLine

// screen draws a sample in so many columns and lines; 0 lines are as many as it takes.
func screen(t *trends, columns, lines int) []screenLine {
	s, now := &t.last.status, t.last.at
	sections := []section{headSection(t, s, now, columns)}
	if len(s.Destinations) > 0 {
		sections = append(sections, destinationSection(t, s, now, columns))
	}
	for _, more := range []section{upstreamSection(s), viewSection(s), dropSection(s), commitmentSection(s, now), troubleSection(s, now)} {
		if len(more) > 0 {
			sections = append(sections, more)
		}
	}
	fit(sections, lines)
	var out []screenLine
	for i, sec := range sections {
		if i > 0 {
			out = append(out, screenLine{})
		}
		out = append(out, sec...)
	}
	if lines > 0 {
		out = out[:min(len(out), lines)]
	}
	for i := range out {
		out[i].text = clip(out[i].text, columns)
	}
	return out
}

// fit shortens the longest sections until all have room. A section says how much is left out of it.
func fit(sections []section, lines int) {
	hidden := make([]int, len(sections))
	for lines > 0 {
		total, longest := len(sections)-1, 0
		for i, s := range sections {
			total += len(s)
			if i > 0 && len(s) > len(sections[longest]) || longest == 0 && i > 0 {
				longest = i
			}
		}
		if total <= lines || longest == 0 || len(sections[longest]) <= 3 {
			return
		}
		s := sections[longest]
		if hidden[longest] == 0 {
			hidden[longest] = 1
		}
		hidden[longest]++
		s = s[:len(s)-1]
		s[len(s)-1] = screenLine{text: fmt.Sprintf("… %d more: dcmgate status", hidden[longest])}
		sections[longest] = s
	}
}

func headSection(t *trends, s *gateway.Status, now time.Time, columns int) section {
	clock := now.Local().Format(time.TimeOnly)
	if !s.Running {
		return section{{ends(s.AETitle+", not running; data in "+s.DataDir, clock, columns), alarm}}
	}
	health, mood := "healthy", bold
	if !s.Spool.Healthy {
		health, mood = "NOT HEALTHY: "+s.Spool.Error, alarm
	}
	head := section{{ends(fmt.Sprintf("%s %s, running for %s, %s", s.AETitle, s.Version, ageText(now, s.Started), health), clock, columns), mood}}
	flow := func(name string, n int64) screenLine {
		text := fmt.Sprintf("%-10s %-11d %8.1f/s %10s/s  ", name, n, t.now(name), bytesText(int64(t.now(name+" bytes"))))
		return screenLine{text: text + t.spark(name, columns-len(text))}
	}
	failed := ""
	if s.Activity.RequestsFailed > 0 {
		failed = fmt.Sprintf(" (%d failed)", s.Activity.RequestsFailed)
	}
	head = append(head, flow("received", s.Received.Instances), flow("delivered", s.Activity.Delivered), spoolLine(&s.Spool),
		screenLine{text: fmt.Sprintf("open       %d in, %d out; %s rejected, %s refused", s.Associations.In, s.Associations.Out, count(s.Activity.Rejected, "association"), count(s.Received.Refused, "instance"))},
		screenLine{text: fmt.Sprintf("asked      %d queries, %d retrievals, %d requests over HTTP%s", s.Activity.Queries, s.Activity.Retrievals, s.Activity.Requests, failed)},
	)
	if s.Reload.Error != "" {
		first, _, _ := strings.Cut(s.Reload.Error, "\n")
		head = append(head, screenLine{"configuration of " + s.Reload.At.Local().Format(time.TimeOnly) + " NOT TAKEN: " + first, alarm})
	}
	if keys := s.Reload.NeedsRestart; len(keys) > 0 {
		head = append(head, screenLine{"needs a restart: " + strings.Join(keys, ", "), alarm})
	}
	return head
}

// spoolLine draws how much of what the spool may have is used.
func spoolLine(s *gateway.SpoolStatus) screenLine {
	const width = 16
	whole := s.Quota
	if whole == 0 {
		whole = s.Bytes + s.FreeBytes
	}
	used, kept := 0, 0
	if whole > 0 {
		used = int(min(max(s.Bytes*width/whole, 0), width))
		kept = min(int(max((s.Bytes-s.EvictableBytes)*width/whole, 0)), used)
	}
	bar := strings.Repeat("#", kept) + strings.Repeat("=", used-kept) + strings.Repeat("-", width-used)
	line := screenLine{text: fmt.Sprintf("spool      %-11d [%s] %s, %s free", s.Instances, bar, bytesText(s.Bytes), bytesText(s.FreeBytes))}
	if s.Pressure != "none" {
		line.text += ", pressure " + strings.ToUpper(s.Pressure)
		line.emphasis = alarm
	}
	return line
}

func destinationSection(t *trends, s *gateway.Status, now time.Time, columns int) section {
	list := section{{fmt.Sprintf("%-12s %-12s %8s %6s %6s %9s %11s  %s", "DESTINATION", "STATE", "WAITING", "OLDEST", "PARKED", "RATE", "BYTES", "TREND"), bold}}
	for i := range s.Destinations {
		d := &s.Destinations[i]
		state, _, _ := strings.Cut(d.State, ",")
		text := fmt.Sprintf("%-12s %-12s %8d %6s %6d %7.1f/s %9s/s  ", clip(d.Name, 12), clip(state, 12), d.Pending+d.Active,
			ageText(now, d.Oldest), d.Parked, t.now("to "+d.Name), bytesText(int64(d.BytesPerSecond)))
		line := screenLine{text: text + t.spark("to "+d.Name, columns-len(text))}
		if d.Breaker == "open" || d.Parked > 0 {
			line.emphasis = alarm
		}
		list = append(list, line)
	}
	return list
}

func upstreamSection(s *gateway.Status) (list section) {
	for i := range s.Upstreams {
		if i == 0 {
			list = section{{fmt.Sprintf("%-14s %-22s %6s %12s", "UPSTREAM", "STATE", "MOVES", "ASSOCIATIONS"), bold}}
		}
		u := &s.Upstreams[i]
		state, _, _ := strings.Cut(u.State, ",")
		line := screenLine{text: fmt.Sprintf("%-14s %-22s %6d %12s", clip(u.Name, 14), clip(state, 22), u.Moves, fmt.Sprintf("%d of %d", u.Associations, u.Bound))}
		if u.Breaker == "open" {
			line.emphasis = alarm
		}
		list = append(list, line)
	}
	return list
}

func viewSection(s *gateway.Status) (list section) {
	for i := range s.Views {
		if i == 0 {
			list = section{{fmt.Sprintf("%-14s %-22s %8s %8s", "ROWS IN", "STATE", "BEHIND", "LACKING"), bold}}
		}
		v := &s.Views[i]
		line := screenLine{text: fmt.Sprintf("%-14s %-22s %8d %8d", clip(v.Name, 14), clip(string(v.State), 22), v.Behind, v.RowsLacking())}
		if v.Error != "" {
			line = screenLine{line.text + "  " + v.Error, alarm}
		}
		list = append(list, line)
	}
	return list
}

func dropSection(s *gateway.Status) (list section) {
	for i := range s.Drop {
		if i == 0 {
			list = section{{fmt.Sprintf("%-14s %-22s %8s %8s %8s %11s", "DROP FOLDER", "STATE", "WAITING", "OLDEST", "TAKEN", "MOVED ASIDE"), bold}}
		}
		d := &s.Drop[i]
		line := screenLine{text: fmt.Sprintf("%-14s %-22s %8d %8s %8d %11d", clip(d.Name, 14), d.State, d.Waiting, d.Oldest.Round(time.Second), d.Taken, d.Rejected)}
		if d.Trouble != "" {
			line.emphasis = alarm
		}
		list = append(list, line)
	}
	return list
}

func commitmentSection(s *gateway.Status, now time.Time) (list section) {
	for _, c := range s.Commitments {
		list = append(list, screenLine{text: commitmentText(c, now)})
	}
	return list
}

func troubleSection(s *gateway.Status, now time.Time) section {
	list := section{{"TROUBLES", bold}}
	for i := range s.Destinations {
		if d := &s.Destinations[i]; d.LastError != "" {
			list = append(list, screenLine{fmt.Sprintf("%s, %s ago: %s", d.Name, ageText(now, d.LastErrorAt), d.LastError), plain})
		}
	}
	for i := range s.Upstreams {
		if u := &s.Upstreams[i]; u.LastError != "" {
			list = append(list, screenLine{fmt.Sprintf("%s, %s ago: %s", u.Name, ageText(now, u.LastErrorAt), u.LastError), plain})
		}
	}
	for _, in := range s.Incidents {
		list = append(list, screenLine{text: incidentText(in, now)})
	}
	if len(list) == 1 {
		return nil
	}
	return list
}

// incidentText says an incident in one line.
func incidentText(in gateway.Incident, now time.Time) string {
	var parts []string
	for _, part := range []string{string(in.Kind), in.Subject} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if in.Count > 1 {
		parts = append(parts, fmt.Sprintf("%d times", in.Count))
	}
	if !in.At.IsZero() {
		parts = append(parts, ageText(now, in.At)+" ago")
	}
	return clean(strings.Join(parts, ", ") + ": " + in.What)
}

// ends puts one text at the left and another at the right end of a line.
func ends(left, right string, columns int) string {
	room := columns - utf8.RuneCountInString(right) - 1
	left = clip(left, room)
	return left + strings.Repeat(" ", max(room-utf8.RuneCountInString(left), 0)+1) + right
}

// clean makes question marks of what could move a terminal's cursor: reasons may hold what peers have said.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// clip cleans a text and shortens it to so many columns.
func clip(text string, columns int) string {
	runes := []rune(clean(text))
	if len(runes) <= columns {
		return string(runes)
	}
	return string(runes[:max(columns-1, 0)]) + "…"
}
