// Command gin-edged is the device API service of gin-edge, as it is without a
// product's own extension.
package main

import (
	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edged"
)

func main() { edged.Main(edge.Product{Name: "gin-edged"}) }
