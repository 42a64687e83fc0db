// Package openapi holds the description of the HTTP interface: openapi.yaml is
// what people write, openapi.json the same as the service has it.
package openapi

import _ "embed"

//go:generate go test -run TestJSONIsTheYAML -update .

// Base is the OpenAPI 3.0 document of the service without a product, as JSON.
// HEAD is not in it: where GET is, the service derives it. The service serves the
// whole at /openapi.json.
//
//go:embed openapi.json
var Base []byte
