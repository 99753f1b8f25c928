package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"dcmgate/gateway"
)

// report is the custody summary.
type report struct {
	sent, repeated, refused int // by the modalities
	received, durable       int64
	duplicates              int64
	rate, megabytes         float64 // of sending, per second
	destinations            []custody
}

// custody says what became of the instances at one destination.
type custody struct {
	name              string
	delivered, intact int
	missing, damaged  int
	again             int // received more than once by the archive, because an answer was lost
	retries, parked   int64
	lag               time.Duration // mean, from reception to delivery
}

// account compares what was acknowledged with what the archives hold, digest by digest, and with what the gateway says.
func (s *stage) account(ctx context.Context, operator gateway.Operator, l *ledger) (*report, error) {
	status, err := operator.Status(ctx)
	if err != nil {
		return nil, err
	}
	m, err := scrape(ctx, s.cfg.HTTP.Listen)
	if err != nil {
		return nil, err
	}
	r := &report{
		sent: len(l.acked), repeated: l.repeated, refused: l.refused,
		received: int64(m.sum("dcmgate_instances_received_total") + m.sum("dcmgate_duplicates_total")), durable: status.Spool.Instances,
		duplicates: int64(m.sum("dcmgate_duplicates_total")),
		rate:       float64(len(l.acked)) / l.took.Seconds(), megabytes: float64(l.bytes) / 1e6 / l.took.Seconds(),
	}
	for _, a := range s.archives {
		label := fmt.Sprintf("destination=%q", a.name)
		c := custody{name: a.name, retries: int64(m.sum("dcmgate_delivery_attempts_total", label, `outcome="retry"`) + m.sum("dcmgate_delivery_attempts_total", label, `outcome="interrupted"`)),
			parked: int64(m.sum("dcmgate_jobs", label, `state="parked"`))}
		if n := m.sum("dcmgate_delivery_seconds_count", label); n > 0 {
			c.lag = time.Duration(m.sum("dcmgate_delivery_seconds_sum", label) / n * float64(time.Second))
		}
		for sop, digest := range l.acked {
			e, ok := a.archive.Lookup(sop)
			switch {
			case !ok || e.Answered == 0:
				c.missing++
			case e.Digest != digest || e.Conflicts > 0:
				c.damaged++
			default:
				c.intact++
			}
			if e.Answered+e.Unsure > 1 {
				c.again++
			}
		}
		c.delivered = c.intact + c.damaged
		r.destinations = append(r.destinations, c)
	}
	return r, nil
}

// complete tells whether everything arrived intact everywhere.
func (r *report) complete() bool {
	for _, c := range r.destinations {
		if c.missing > 0 || c.damaged > 0 || c.parked > 0 {
			return false
		}
	}
	return r.sent > 0 && r.durable == int64(r.sent)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\nCustody\n")
	fmt.Fprintf(out, "  sent by modalities   %d instances, and %d of them once more; %.0f instances/s, %.1f MB/s, each durable before it was answered\n",
		r.sent, r.repeated, r.rate, r.megabytes)
	fmt.Fprintf(out, "  received             %d (answered with success)\n", r.received)
	fmt.Fprintf(out, "  durable              %d in the spool, %d duplicates recognised and stored once\n\n", r.durable, r.duplicates)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  DESTINATION\tDELIVERED\tINTACT\tMISSING\tDAMAGED\tRETRIES\tSENT AGAIN*\tPARKED\tMEAN LAG")
	for _, c := range r.destinations {
		fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\n",
			c.name, c.delivered, c.intact, c.missing, c.damaged, c.retries, c.again, c.parked, c.lag.Round(time.Millisecond))
	}
	w.Flush()
	fmt.Fprintln(out, "  * only where the archive's answer was lost on the way")
	verdict := "Everything arrived, byte for byte (SHA-256 of every data set compared)."
	if !r.complete() {
		verdict = "NOT everything arrived: see MISSING, DAMAGED and PARKED above, and the log below."
	}
	fmt.Fprintf(out, "\n  %s\n", verdict)
}

// samples are the lines of a scrape.
type samples []string

// scrape reads /metrics as Prometheus would.
func scrape(ctx context.Context, address string) (samples, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's metrics: %w", err)
	}
	defer answer.Body.Close()
	var all samples
	lines := bufio.NewScanner(io.LimitReader(answer.Body, 4<<20))
	for lines.Scan() {
		all = append(all, lines.Text())
	}
	return all, lines.Err()
}

// sum adds the samples of a metric that carry all of labels, as they are printed.
func (all samples) sum(name string, labels ...string) float64 {
	total := 0.0
next:
	for _, line := range all {
		series, value, _ := strings.Cut(line, " ")
		if base, _, _ := strings.Cut(series, "{"); base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue next
			}
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			total += v
		}
	}
	return total
}
