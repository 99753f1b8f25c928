package gateway

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// chart is a drawing of the last hour with what stands around it.
type chart struct {
	Title         string
	SVG           template.HTML // empty while there is too little to draw
	Top, From, To string
	Keys          []chartKey
}

// chartKey names a line and its last value.
type chartKey struct{ Class, Name, Now string }

// The coordinates of drawings; they are stretched to whatever room there is.
const chartWidth, chartHeight = 600, 100

// chartLine is one line of a chart.
type chartLine struct {
	class, name string
	points      []point
}

// Charts draws what came and went.
func (p *page) Charts() []chart {
	h := p.history
	if h == nil {
		return nil
	}
	perSecond := func(f float64) string { return p.Rate(f) + "/s" }
	number := func(f float64) string { return p.Num(int64(math.Round(f))) }
	speed := func(f float64) string { return p.Bytes(int64(f)) + "/s" }
	return []chart{
		p.chart(p.T("Instances per second"), perSecond,
			chartLine{"in", p.T("received"), h.rates(func(m moment) float64 { return m.received })},
			chartLine{"out", p.T("delivered"), h.rates(func(m moment) float64 { return m.delivered })}),
		p.chart(p.T("Bytes per second"), speed,
			chartLine{"in", p.T("received"), h.rates(func(m moment) float64 { return m.receivedBytes })},
			chartLine{"out", p.T("delivered"), h.rates(func(m moment) float64 { return m.deliveredBytes })}),
		p.chart(p.T("Deliveries waiting"), number, chartLine{"in", p.T("waiting"), h.values(func(m moment) float64 { return m.waiting })}),
	}
}

// chart draws lines over the time of the first of them.
func (p *page) chart(title string, write func(float64) string, lines ...chartLine) chart {
	c := chart{Title: title}
	first := lines[0].points
	if len(first) < 2 {
		return c
	}
	from, to := first[0].at, first[len(first)-1].at
	top := 0.
	for _, l := range lines {
		for _, pt := range l.points {
			top = max(top, pt.value)
		}
	}
	scale := top
	if scale == 0 {
		scale = 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 -2 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`, chartWidth, chartHeight+4, template.HTMLEscapeString(title))
	fmt.Fprintf(&b, `<path class="grid" d="M0 %d H%d M0 %d H%[2]d" vector-effect="non-scaling-stroke"/>`, chartHeight, chartWidth, chartHeight/2)
	for i, l := range lines {
		d := chartPath(l.points, from, to, scale)
		if i == 0 {
			fmt.Fprintf(&b, `<path class="area" d="%s L%d %d L0 %[3]d Z"/>`, d, chartWidth, chartHeight)
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s" stroke-width="1.5" vector-effect="non-scaling-stroke"/>`, l.class, d)
		c.Keys = append(c.Keys, chartKey{"k-" + l.class, l.name, write(l.points[len(l.points)-1].value)})
	}
	b.WriteString("</svg>")
	c.SVG = template.HTML(b.String()) // numbers, and a title that is escaped
	c.Top = write(top)
	c.From, c.To = from.Format("15:04"), to.Format("15:04")
	return c
}

func chartPath(points []point, from, to time.Time, scale float64) string {
	var b strings.Builder
	span := to.Sub(from).Seconds()
	for i, pt := range points {
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f ", command, pt.at.Sub(from).Seconds()/span*chartWidth, chartHeight-pt.value/scale*chartHeight)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// SpoolBar draws how much of what the spool may have is used: what waits for somebody, and what could be evicted.
func (p *page) SpoolBar() template.HTML {
	s := &p.Spool
	whole := s.Quota
	if whole == 0 {
		whole = s.Bytes + s.FreeBytes
	}
	if whole <= 0 {
		return ""
	}
	width := func(bytes int64) int64 { return min(max(bytes*1000/whole, 0), 1000) }
	kept, all := width(s.Bytes-s.EvictableBytes), width(s.Bytes)
	return template.HTML(fmt.Sprintf(`<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true"><rect class="rest" width="1000" height="10"/><rect class="kept" width="%d" height="10"/><rect class="used" width="%d" height="10"/></svg>`, all, kept))
}
