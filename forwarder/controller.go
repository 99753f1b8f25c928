package forwarder

import "time"

// A controller decides how many associations a destination is worth. It
// climbs the hill of goodput: now and then it tries a few associations more or
// one less, and keeps the change if the measured bytes per second say so. An
// extra association has to earn a few percent; giving one up has to cost
// nothing. Trials that fail are repeated ever more rarely. Upwards the steps
// double as long as they succeed, because over a long line, where each answer
// takes its time, dozens of associations may be right.
//
// It is pure: the courier calls it with measurements and the time.
type controller struct {
	max int // configured bound

	level    int     // associations allowed now
	goodput  float64 // smoothed, at the settled level
	samples  int     // measured at the settled level
	trial    int     // the change being tried, 0 for none
	stride   int     // size of the next step upwards
	ramping  bool    // no trial has failed yet: hurry
	trialSum float64
	trialN   int // samples of the trial; the first is not counted
	next     int // direction of the next trial
	hold     int // samples until then
	patience int // hold after the next failed trial

	ceiling      int // what the destination said it admits, 0 unknown
	ceilingUntil time.Time
	measured     time.Time // last saturated sample
}

// The tuning of the controller, in samples unless noted.
const (
	initialLevel   = 4               // associations opened at once on a large backlog
	settleSamples  = 2               // before the first trial
	trialSamples   = 2               // counted per trial, after one for warming up
	minPatience    = 16              // after a trial that failed
	maxPatience    = 256             // between trials that keep failing
	upGain         = 0.05            // what each extra association must bring
	maxUpGain      = 0.25            // but all of a trial together no more than this
	downLoss       = 0.98            // one less may cost this
	smoothing      = 0.4             // weight of the newest sample
	forgetAfter    = time.Minute     // without load; the network may be another by then
	ceilingMemory  = 2 * time.Minute // how long a destination's "no more" is believed
	sampleInterval = 300 * time.Millisecond
	hurryInterval  = 100 * time.Millisecond // while no trial has failed yet
	hurryAnswers   = 4                      // by each association, that such a short interval means something
)

func newController(bound int) *controller {
	c := &controller{max: max(bound, 1)}
	c.restart()
	return c
}

func (c *controller) restart() {
	*c = controller{
		max: c.max, ceiling: c.ceiling, ceilingUntil: c.ceilingUntil,
		level: min(c.max, initialLevel), stride: initialLevel, ramping: true,
		hold: settleSamples, patience: minPatience, next: +1,
	}
}

// wanted returns how many associations should be open for the given number
// of waiting instances when each association takes share of them at a time.
func (c *controller) wanted(now time.Time, waiting, share int) int {
	if waiting <= 0 {
		return 0
	}
	return min(c.allowed(now), (waiting+share-1)/share)
}

// allowed returns how many associations are worth having now.
func (c *controller) allowed(now time.Time) int { return min(c.level, c.bound(now)) }

// bound returns how many may be open now: as many as configured, or as the
// destination was found to admit.
func (c *controller) bound(now time.Time) int {
	if now.Before(c.ceilingUntil) {
		return min(c.max, c.ceiling)
	}
	return c.max
}

// interval returns how long to measure for the next sample, given the answers
// that each association has had since the last one. At first, where every
// step may double the goodput, it is kept short if it sees enough of them.
func (c *controller) interval(answers int) time.Duration {
	if c.ramping && answers >= hurryAnswers {
		return hurryInterval
	}
	return sampleInterval
}

// refused records that the destination, with open associations of ours
// already accepted, would not admit another for lack of room. That is its
// limit, not an outage.
func (c *controller) refused(now time.Time, open int) {
	c.ceiling, c.ceilingUntil = max(open, 1), now.Add(ceilingMemory)
	c.endTrial(false)
	c.level = min(c.level, c.ceiling)
}

// sample takes the goodput of the last interval in bytes per second.
// saturated says that work was waiting and all allowed associations were
// open; only then does the number mean anything.
func (c *controller) sample(now time.Time, goodput float64, saturated bool) {
	if !saturated {
		if !c.measured.IsZero() && now.Sub(c.measured) > forgetAfter {
			c.restart()
		}
		c.endTrial(false)
		return
	}
	c.measured = now
	if c.trial != 0 {
		c.sampleTrial(now, goodput)
		return
	}
	if c.samples++; c.samples == 1 {
		c.goodput = goodput
	} else {
		c.goodput += smoothing * (goodput - c.goodput)
	}
	if c.hold--; c.hold <= 0 {
		c.beginTrial(now)
	}
}

// beginTrial tries the next direction. Giving up an association is tried
// only with patience: it costs goodput unless it was useless.
func (c *controller) beginTrial(now time.Time) {
	step := c.next
	c.next = -c.next
	if step > 0 {
		step = max(min(c.stride, c.bound(now)-c.level), 0)
	}
	if step == 0 || c.level+step < 1 {
		c.hold, c.ramping = c.patience, false
		return
	}
	c.level, c.trial, c.trialSum, c.trialN = c.level+step, step, 0, 0
}

func (c *controller) sampleTrial(now time.Time, goodput float64) {
	if c.trialN++; c.trialN == 1 {
		return // associations are still being opened or released
	}
	c.trialSum += goodput
	counted := c.trialN - 1
	if counted < trialSamples && !c.ramping {
		return
	}
	need := 1 + min(upGain*float64(c.trial), maxUpGain)
	if c.trial < 0 {
		need = downLoss
	}
	mean := c.trialSum / float64(counted)
	if mean < c.goodput*need {
		c.endTrial(false)
		return
	}
	c.goodput = mean
	c.endTrial(true)
	if c.ramping {
		c.beginTrial(now)
	}
}

// endTrial settles: on the new level if it was better, going on in the same
// direction soon, or back on the old one with more patience.
func (c *controller) endTrial(better bool) {
	if c.trial == 0 {
		return
	}
	step := c.trial
	c.trial = 0
	if better {
		c.samples, c.hold, c.patience = 1, 1, minPatience
		c.next, c.stride = sign(step), max(2*step, 1)
		return
	}
	c.level -= step
	c.stride, c.ramping = 1, false
	c.hold = c.patience
	c.patience = min(2*c.patience, maxPatience)
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return +1
}
