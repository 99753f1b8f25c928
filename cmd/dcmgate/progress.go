package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// barWidth is that of the bars, in characters.
const barWidth = 40

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar
}

// newByteBar returns a bar for bytes done of a total that is not known yet.
func newByteBar(out io.Writer, title string) *bar {
	return newBar(out, title, decor.Counters(decor.SizeB1000(0), "% .1f / % .1f"))
}

func newBar(out io.Writer, title string, counters decor.Decorator) *bar {
	if !isTerminal(out) {
		return &bar{}
	}
	p := mpb.New(mpb.WithOutput(out), mpb.WithWidth(barWidth))
	return &bar{p, p.AddBar(0,
		mpb.PrependDecorators(decor.Name(title+" ")),
		mpb.AppendDecorators(counters, decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)),
	)}
}

// newCounter returns what shows how much was done of what nobody has counted.
func newCounter(out io.Writer, title, what string) *bar {
	if !isTerminal(out) {
		return &bar{}
	}
	p := mpb.New(mpb.WithOutput(out), mpb.WithWidth(1))
	return &bar{p, p.AddSpinner(0, mpb.PrependDecorators(decor.Name(title+" ")), mpb.AppendDecorators(decor.CurrentNoUnit("%d "+what)))}
}

// newStepBar returns a bar for steps, each of which has words of its own, and the function that sets them.
func newStepBar(out io.Writer, title string) (b *bar, say func(words string)) {
	var words atomic.Value
	words.Store("")
	return newBar(out, title, decor.Any(func(s decor.Statistics) string {
		return fmt.Sprintf("%d / %d  %s", s.Current, s.Total, words.Load())
	})), func(text string) { words.Store(text) }
}

// set moves the bar.
func (b *bar) set(done, total int64) {
	if b.bar != nil {
		b.bar.SetTotal(total, false)
		b.bar.SetCurrent(done)
	}
}

// close takes the bar away so that a summary can follow.
func (b *bar) close() {
	if b.bar != nil {
		b.bar.Abort(true)
		b.container.Wait()
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
