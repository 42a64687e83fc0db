// Package openapi embeds the description of the HTTP interface.
package openapi

import _ "embed"

// Base is the OpenAPI 3.0 document of the service without a product. HEAD is not in
// it: where GET is, the service derives it. The service serves the whole at
// /openapi.json.
//
//go:embed openapi.json
var Base []byte
