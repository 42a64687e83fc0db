// Command @NAME@ is the device's service.
package main

import (
	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edged"

	"example.com/@NAME@/internal/product"
)

func main() { edged.Main(edge.Product{Name: "@NAME@"}, product.Extension()) }
