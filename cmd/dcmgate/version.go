package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
)

// versionInfo is what `version --json` prints.
type versionInfo struct {
	Version                   string `json:"version"`
	Go                        string `json:"go"`
	Platform                  string `json:"platform"`
	Revision                  string `json:"revision,omitempty"`
	ImplementationClassUID    string `json:"implementation_class_uid"`
	ImplementationVersionName string `json:"implementation_version_name"`
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and the DICOM implementation identifiers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := currentVersion()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dcmgate %s (%s, %s)\nimplementation class UID %s, version name %s\n",
				v.Version, v.Go, v.Platform, v.ImplementationClassUID, v.ImplementationVersionName)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func currentVersion() versionInfo {
	v := versionInfo{
		Version:                   version,
		Go:                        runtime.Version(),
		Platform:                  runtime.GOOS + "/" + runtime.GOARCH,
		ImplementationClassUID:    string(dicom.ImplementationClassUID),
		ImplementationVersionName: dicom.ImplementationVersionName,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}
