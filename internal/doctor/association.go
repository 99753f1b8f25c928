package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// endpoint is an application entity and what the gateway wants of it.
type endpoint struct {
	address         string
	called, calling string
	tls             *tls.Config
	asked           bool        // for a certificate of ours
	storage         bool        // it is to take instances
	converts        bool        // which are converted where it does not take them as they are
	required        []dicom.UID // SOP classes beside storage, without which something configured does not work
}

var uncompressed = []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)}

func (x *examiner) dial(ctx context.Context, at *endpoint, contexts []pdu.PresentationContext) (*dimse.Association, error) {
	t := x.o.Timeout
	d := dimse.Dialer{TLS: at.tls, ConnectTimeout: t, Timeouts: dimse.Timeouts{ARTIM: t, PDUTimeout: t, WriteTimeout: t, DIMSETimeout: t}}
	return d.Dial(ctx, at.address, dimse.Proposal{CalledAETitle: at.called, CallingAETitle: at.calling, Contexts: contexts, AsyncOperationsWindow: 8})
}

func verification() []pdu.PresentationContext {
	return []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(dicom.VerificationSOPClass), TransferSyntaxes: uncompressed}}
}

// speaksDICOM says whether an association can be asked for at an address without TLS, whatever the answer is.
func (x *examiner) speaksDICOM(ctx context.Context, address string) bool {
	short := &examiner{o: x.o}
	short.o.Timeout = min(probeTimeout, x.o.Timeout)
	a, err := short.dial(ctx, &endpoint{address: address, called: "ANY-SCP", calling: "DCMGATE"}, verification())
	if err == nil {
		_ = a.Release(ctx)
		a.Close()
		return true
	}
	_, rejected := errors.AsType[*dimse.RejectError](err)
	return rejected
}

// associated asks for an association, looks at what was negotiated, and for a C-ECHO.
func (x *examiner) associated(ctx context.Context, e *Examined, at *endpoint) {
	begun := time.Now()
	proposal := x.proposal(at)
	a, err := x.dial(ctx, at, proposal.contexts)
	if err != nil {
		x.explainAssociation(ctx, e, at, err)
		return
	}
	defer a.Close()
	ac := a.AC()
	e.ok("associate", "association %s to %s in %s; implementation %s %s, P-DATA-TF up to %s, window %d", at.calling, at.called, millis(time.Since(begun)),
		pdu.Printable(ac.ImplementationVersionName), pdu.Printable(ac.ImplementationClassUID), lengthText(a.PeerMaximumLength()), a.Window())
	proposal.judge(e, at, a)
	begun = time.Now()
	status, err := a.Echo(ctx)
	switch {
	case errors.Is(err, dimse.ErrNoContext):
		e.add("echo", Note, "it does not take C-ECHO (Verification)", "have Verification enabled there: it is what other tools look at")
	case err != nil:
		d := dimse.Diagnose(err, "the other side")
		e.problem("echo", "C-ECHO failed: "+d.Words, d.Advice)
		return
	case !status.Ok():
		e.add("echo", Warning, fmt.Sprintf("C-ECHO was answered %v", status), "look into its log")
	default:
		e.ok("echo", "C-ECHO answered in %s", millis(time.Since(begun)))
	}
	_ = a.Release(ctx) // everything that was asked for has been answered
}

func lengthText(n uint32) string {
	if n == 0 {
		return "any length"
	}
	return fmt.Sprintf("%d bytes", n)
}

func (x *examiner) explainAssociation(ctx context.Context, e *Examined, at *endpoint, err error) {
	d := dimse.Diagnose(err, "the other side")
	if _, rejected := errors.AsType[*dimse.RejectError](err); rejected {
		if words, advice := x.otherTitles(ctx, at, d.Code); words != "" {
			e.problem("associate", words, advice)
			return
		}
		e.problem("associate", fmt.Sprintf("%s (calling %q, called %q)", d.Words, at.calling, at.called), d.Advice)
		return
	}
	if at.tls != nil {
		// In TLS 1.3 the refusal of our certificate comes after the handshake, and the end of the connection may overtake it.
		switch {
		case at.asked && len(at.tls.Certificates) == 0:
			d = dimse.Diagnosis{Words: "it ends the connection, having asked for a certificate in vain: " + plainly(err), Advice: "set tls.cert and tls.key to a certificate that it trusts"}
		case at.asked:
			d = dimse.Diagnosis{Words: "it ends the connection, so that it may not accept the certificate of tls.cert: " + plainly(err), Advice: "have the authority that issued it trusted there, and look into its log"}
		}
	} else {
		switch x.speaks(ctx, at.address) {
		case speaksTLS:
			d = dimse.Diagnosis{Words: "it speaks TLS at this port", Advice: "set tls.enabled, and tls.ca to the authority of its certificate; or take the port of its listener without TLS"}
		case speaksHTTP:
			d = dimse.Diagnosis{Words: "a web server answers at this port", Advice: "check the port: DICOM's are usually 104 or 11112"}
		}
	}
	e.problem("associate", d.Words, d.Advice)
}

// otherTitles tries AE titles that differ from a rejected one in case and spaces alone.
func (x *examiner) otherTitles(ctx context.Context, at *endpoint, code string) (words, advice string) {
	try := func(change func(*endpoint, string), title string) string {
		for _, other := range variants(title) {
			changed := *at
			change(&changed, other)
			if a, err := x.dial(ctx, &changed, verification()); err == nil {
				_ = a.Release(ctx)
				a.Close()
				return other
			}
		}
		return ""
	}
	if strings.HasSuffix(code, "-called-ae") || strings.HasSuffix(code, "-no-reason") {
		if other := try(func(e *endpoint, t string) { e.called = t }, at.called); other != "" {
			return fmt.Sprintf("it does not answer to the called AE title %q, but to %q", at.called, other), fmt.Sprintf("write ae_title: %s here", other)
		}
	}
	if strings.HasSuffix(code, "-calling-ae") || strings.HasSuffix(code, "-no-reason") {
		if other := try(func(e *endpoint, t string) { e.calling = t }, at.calling); other != "" {
			return fmt.Sprintf("it does not know the calling AE title %q, but %q", at.calling, other), fmt.Sprintf("have %q entered there, exactly so; or call with %q", at.calling, other)
		}
	}
	return "", ""
}

// variants of an AE title are those that people confuse it with; titles are told apart by case, and by spaces inside them.
func variants(title string) (list []string) {
	for _, v := range []string{
		strings.ToUpper(title), strings.ToLower(title), strings.ReplaceAll(title, " ", ""), strings.ReplaceAll(strings.ToUpper(title), " ", ""),
		strings.ReplaceAll(title, " ", "_"), strings.ReplaceAll(title, "_", " "), strings.ReplaceAll(title, "-", "_"), strings.ReplaceAll(title, "_", "-"),
	} {
		if v != title && strings.TrimSpace(v) != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}
