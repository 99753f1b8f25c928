package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
	"dcmgate/images"
)

func newImages() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Images that are not DICOM: JPEG, PNG and BMP files",
		Args:  cobra.ArbitraryArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(newImagesAdd(), newImagesList(), newImagesWithdraw(), newImagesVerify())
	return cmd
}

func newImagesAdd() *cobra.Command {
	var at where
	var id images.Identifiers
	cmd := &cobra.Command{
		Use:   "add FILE...",
		Short: "Store images of a study and publish them in V_DocImage_F",
		Long:  "Store images of a study and publish them in V_DocImage_F. Files are compared with what\nthey claim to be to their last byte. What is stored already is not stored twice. The files\nstay where they are.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := id.Normalize(); err != nil {
				return usageError{err}
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				var failed []error
				for _, path := range args {
					if err := addImage(cmd, op, id, path); err != nil {
						failed = append(failed, fmt.Errorf("%s: %w", path, err))
					}
				}
				return errors.Join(failed...)
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&id.StudyInstanceUID, "study", "", "Study Instance `UID`; several with commas between them")
	cmd.Flags().StringVar(&id.AccessionNumber, "accession", "", "accession `number`")
	cmd.Flags().StringVar(&id.PatID, "patient", "", "patient `ID` (PatID)")
	return cmd
}

func addImage(cmd *cobra.Command, op gateway.Operator, id images.Identifiers, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := op.AddImage(cmd.Context(), id, f)
	if err != nil {
		return err
	}
	what := "stored"
	if !in.Added {
		what = "is there already"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s as %s, %s, %d x %d\n", path, what, in.ID, in.Kind, in.Width, in.Height)
	return err
}

func newImagesList() *cobra.Command {
	var at where
	var study string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List images in the order of their last changes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				return listImages(cmd, op, study, asJSON)
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&study, "study", "", "Study Instance `UID`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one image a line")
	return cmd
}

func listImages(cmd *cobra.Command, op gateway.Operator, study string, asJSON bool) error {
	out := cmd.OutOrStdout()
	for behind := uint64(0); ; {
		list, err := op.ListImages(cmd.Context(), study, behind)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, in := range list {
			if err := printImage(out, in, asJSON); err != nil {
				return err
			}
			behind = in.Sequence
		}
	}
}

func printImage(out io.Writer, in gateway.StoredImage, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(in)
	}
	state := "ready"
	if in.Withdrawn {
		state = "withdrawn"
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s  %s  %d x %d  %s\n", in.ID, state, in.Received.Format("2006-01-02 15:04:05"), in.Kind, in.Width, in.Height, in.Study)
	return err
}

func newImagesWithdraw() *cobra.Command {
	var at where
	var reason string
	cmd := &cobra.Command{
		Use:   "withdraw ID...",
		Short: "Take images away, and say so in their rows",
		Long:  "Take images away: their rows stay, with FileState withdrawn, their addresses answer 410, and\ntheir bytes are deleted unless another image has the same.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				for _, id := range args {
					if err := op.WithdrawImage(cmd.Context(), id, reason); err != nil {
						return fmt.Errorf("%s: %w", id, err)
					}
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "withdrawn")
				return err
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func newImagesVerify() *cobra.Command {
	var at where
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read every image back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				r, err := op.VerifyImages(cmd.Context())
				if err != nil {
					return err
				}
				for _, p := range r.Problems {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.ID, p.What)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s read, %d damaged, %d left-over files removed\n", count(r.Images, "image"), r.Damaged, r.Orphans)
				if r.Damaged > 0 {
					return errors.New("images are damaged; add them again")
				}
				return nil
			})
		},
	}
	at.flags(cmd)
	return cmd
}
