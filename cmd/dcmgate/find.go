package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// findModels are the values of --model.
var findModels = map[string]dicom.UID{"study": qr.StudyRootFind, "patient": qr.PatientRootFind, "patient-study": qr.PatientStudyOnlyFind}

// findColumns are what is asked for at each level beside the keys given.
var findColumns = map[qr.Level][]string{
	qr.LevelPatient: {"PatientID", "PatientName", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"},
	qr.LevelStudy: {"StudyDate", "PatientID", "PatientName", "AccessionNumber", "ModalitiesInStudy", "StudyDescription",
		"NumberOfStudyRelatedInstances", "StudyInstanceUID"},
	qr.LevelSeries: {"Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances", "SeriesInstanceUID"},
	qr.LevelImage:  {"InstanceNumber", "SOPClassUID", "NumberOfFrames", "SOPInstanceUID"},
}

// findOptions are the flags of find.
type findOptions struct {
	peer
	keys     []string
	level    string
	model    string
	charset  string
	limit    int
	fuzzy    bool
	dateTime bool
	relation bool
	json     bool
}

func newFind() *cobra.Command {
	var o findOptions
	cmd := &cobra.Command{
		Use:   "find HOST:PORT",
		Short: "Query a peer by C-FIND",
		Long: "Query a peer by C-FIND and list what matches. Keys are given as -k PatientName=Wang* or\n" +
			"-k 0010,0010=Wang*, without a value to have the attribute shown.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := o.query()
			if err == nil {
				err = o.check(args[0])
			}
			if err != nil {
				return usageError{err}
			}
			return q.run(cmd)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.keys, "key", "k", nil, "`NAME[=VALUE]` to match or to show; may be repeated")
	f.StringVar(&o.level, "level", "study", "patient, study, series or image")
	f.StringVar(&o.model, "model", "study", "information model: study, patient or patient-study")
	f.StringVar(&o.charset, "charset", "ISO_IR 192", "Specific Character Set to ask in")
	f.IntVarP(&o.limit, "limit", "n", 0, "cancel the query after so many matches; 0 for all")
	f.BoolVar(&o.fuzzy, "fuzzy", false, "negotiate fuzzy matching of person names")
	f.BoolVar(&o.dateTime, "date-time", false, "negotiate combined date-time matching")
	f.BoolVar(&o.relation, "relational", false, "negotiate relational queries")
	f.BoolVar(&o.json, "json", false, "print one JSON document per match")
	return cmd
}

// findQuery is what find asks.
type findQuery struct {
	*findOptions
	model   dicom.UID
	keys    qr.Identifier
	columns []dicom.Tag
	shown   int
	comment string // of the final answer
}

// query makes the identifier of the flags.
func (o *findOptions) query() (*findQuery, error) {
	model, ok := findModels[o.model]
	if !ok {
		return nil, fmt.Errorf("--model %s: study, patient or patient-study is needed", o.model)
	}
	level, ok := qr.ParseLevel(strings.ToUpper(o.level))
	if !ok {
		return nil, fmt.Errorf("--level %s: patient, study, series or image is needed", o.level)
	}
	q := &findQuery{findOptions: o, model: model}
	q.keys.CharacterSet = o.charset
	q.set(dicom.TagQueryRetrieveLevel, level.String())
	for _, key := range o.keys {
		tag, value, err := parseKey(key)
		if err != nil {
			return nil, err
		}
		q.set(tag, value)
		q.columns = append(q.columns, tag)
	}
	for _, name := range findColumns[level] {
		tag, _ := dicom.TagByKeyword(name)
		if !slices.Contains(q.columns, tag) {
			q.set(tag, "")
			q.columns = append(q.columns, tag)
		}
	}
	return q, nil
}

func (q *findQuery) set(tag dicom.Tag, value string) { setKey(&q.keys, tag, value) }

// setKey gives an identifier a key, instead of what it has.
func setKey(id *qr.Identifier, tag dicom.Tag, value string) {
	a := qr.Attribute{Tag: tag, VR: dicom.TagVR(tag)}
	if value != "" {
		a.Values = strings.Split(value, `\`)
	}
	id.Attributes = append(slices.DeleteFunc(id.Attributes, func(have qr.Attribute) bool { return have.Tag == tag }), a)
}

// parseKey reads the NAME[=VALUE] of -k.
func parseKey(key string) (tag dicom.Tag, value string, err error) {
	name, value, _ := strings.Cut(key, "=")
	if tag, err = tagOf(name); err != nil {
		return 0, "", err
	}
	if dicom.TagVR(tag) == "SQ" {
		return 0, "", fmt.Errorf("-k %s: sequences cannot be given", name)
	}
	return tag, value, nil
}

// tagOf reads a keyword or gggg,eeee.
func tagOf(name string) (dicom.Tag, error) {
	if tag, ok := dicom.TagByKeyword(name); ok {
		return tag, nil
	}
	group, element, ok := strings.Cut(strings.Trim(name, "()"), ",")
	g, errG := strconv.ParseUint(group, 16, 16)
	e, errE := strconv.ParseUint(element, 16, 16)
	if !ok || errG != nil || errE != nil {
		return 0, fmt.Errorf("-k %s: neither a keyword of the standard, such as PatientName, nor gggg,eeee", name)
	}
	return dicom.NewTag(uint16(g), uint16(e)), nil
}

func (q *findQuery) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	information := make([]byte, 3)
	for i, wanted := range [...]bool{q.relation, q.dateTime, q.fuzzy} {
		if wanted {
			information[i] = 1
		}
	}
	proposal := dimse.Proposal{Contexts: []pdu.PresentationContext{{
		ID: 1, AbstractSyntax: string(q.model),
		TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)},
	}}}
	if q.relation || q.dateTime || q.fuzzy {
		proposal.ExtendedNegotiations = []pdu.ExtendedNegotiation{{SOPClassUID: string(q.model), Information: information}}
	}
	a, err := q.propose(ctx, proposal)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := q.ask(ctx, a, cmd.OutOrStdout()); err != nil {
		return err
	}
	if q.comment != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s remarks: %s\n", q.address, pdu.Printable(q.comment))
	}
	// What was asked is answered; a peer that does not release well is no failure of that.
	_ = a.Release(ctx)
	return nil
}

// ask sends the query and shows the answers as they come.
func (q *findQuery) ask(ctx context.Context, a *dimse.Association, out io.Writer) error {
	id, ok := a.Accepted(q.model, "")
	if !ok {
		return fmt.Errorf("%s: %w for queries; may %s query there?", q.address, dimse.ErrNoContext, q.calling)
	}
	ts := a.Contexts()[0].TransferSyntax
	data, err := q.keys.Encode(ts)
	if err != nil {
		return err
	}
	pending, err := a.Do(ctx, id, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: q.model}, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("C-FIND to %s: %w", q.address, err)
	}
	show := newFindOutput(q, out)
	for {
		r, err := pending.Next(ctx)
		if err != nil {
			return fmt.Errorf("C-FIND to %s: %w", q.address, err)
		}
		if r.Status.Class() != dimse.ClassPending {
			q.comment = r.ErrorComment
			return errors.Join(show.end(), q.verdict(r))
		}
		if q.limit > 0 && q.shown >= q.limit {
			continue // on their way when the query was cancelled
		}
		match, err := qr.ParseIdentifier(r.Data, ts, "")
		if err != nil {
			return fmt.Errorf("an answer of %s cannot be read: %w", q.address, err)
		}
		if err := show.match(match); err != nil {
			return err
		}
		if q.shown++; q.shown == q.limit {
			if err := pending.Cancel(ctx); err != nil {
				return err
			}
		}
	}
}

// verdict judges the final answer.
func (q *findQuery) verdict(r dimse.Response) error {
	if r.Status.Ok() || r.Status == dimse.StatusCancel && q.limit > 0 && q.shown >= q.limit {
		return nil
	}
	return errors.New(refusalText(q.address, r))
}

// refusalText says what a peer answered and why.
func refusalText(address string, r dimse.Response) string {
	text := fmt.Sprintf("%s answered %04XH %s", address, uint16(r.Status), r.Status.Meaning(r.CommandField))
	if r.ErrorComment != "" {
		text += ": " + pdu.Printable(r.ErrorComment)
	}
	for _, tag := range r.OffendingElements {
		text += fmt.Sprintf(" %v", tag)
	}
	return text
}

// findPage is how many matches a table takes the width of its columns from.
const findPage = 500

// findOutput shows matches, as a table or as JSON.
type findOutput struct {
	query *findQuery
	out   io.Writer
	rows  [][]string
}

func newFindOutput(q *findQuery, out io.Writer) *findOutput {
	o := &findOutput{query: q, out: out}
	var heading []string
	for _, tag := range q.columns {
		name := dicom.TagName(tag)
		if name == "" {
			name = tag.String()
		}
		heading = append(heading, name)
	}
	o.rows = append(o.rows, heading)
	return o
}

func (o *findOutput) match(id *qr.Identifier) error {
	if o.query.json {
		return o.document(id)
	}
	row := make([]string, len(o.query.columns))
	for i, tag := range o.query.columns {
		if a := id.Find(tag); a != nil {
			row[i] = oneLine(strings.Join(a.Values, `\`))
		}
	}
	if o.rows = append(o.rows, row); len(o.rows) < findPage {
		return nil
	}
	return o.flush()
}

// oneLine keeps control characters from the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return ' '
		}
		return r
	}, s)
}

// document prints a match by keywords; several values become a list.
func (o *findOutput) document(id *qr.Identifier) error {
	fields := make(map[string]any, len(id.Attributes))
	for _, a := range id.Attributes {
		name := dicom.TagName(a.Tag)
		if name == "" {
			name = a.Tag.String()
		}
		switch len(a.Values) {
		case 0:
			fields[name] = ""
		case 1:
			fields[name] = a.Values[0]
		default:
			fields[name] = a.Values
		}
	}
	return json.NewEncoder(o.out).Encode(fields)
}

func (o *findOutput) flush() error {
	rows := o.rows
	o.rows = nil
	return table(o.out, rows)
}

func (o *findOutput) end() error {
	if o.query.json {
		return nil
	}
	if len(o.rows) > 0 && (len(o.rows) > 1 || o.query.shown > 0) {
		if err := o.flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(o.out, matchCount(o.query.shown))
	return err
}

func matchCount(n int) string {
	if n == 1 {
		return "1 match"
	}
	return fmt.Sprintf("%d matches", n)
}
