// Package api embeds the description of the HTTP interface.
package api

import _ "embed"

// OpenAPI is the OpenAPI 3.0 document that the service serves at
// /openapi.json.
//
//go:embed openapi.json
var OpenAPI []byte
