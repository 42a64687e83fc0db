// Command acme-gateway is the device API with the gateway's own part.
package main

import (
	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edged"

	"example.com/acme-gateway/internal/gateway"
)

func main() { edged.Main(edge.Product{Name: "acme-gateway"}, gateway.Extension()) }
