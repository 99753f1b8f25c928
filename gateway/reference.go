package gateway

import _ "embed"

// Reference is the commented configuration file that documents every key;
// `dcmgate config example` prints it. It is itself a valid configuration
// whose values are the defaults.
//
//go:embed reference.yaml
var Reference string
