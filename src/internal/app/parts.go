package app

import (
	"context"
	"slices"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/api"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/extension"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// own are the tables of the service itself, in the order of the documentation.
// Each is declared beside its owner.
var own = []config.Table{
	{Name: "server", New: func() edge.Settings { return server.DefaultSettings() }},
	{Name: "access", New: func() edge.Settings { return &api.Access{Hosts: []string{}} }},
	{Name: "log", New: func() edge.Settings { return log.DefaultSettings() }},
	{Name: "storage", New: func() edge.Settings { return &storage.Settings{} }},
}

// Tables are those of a service with the extensions. The error is about an
// extension.
func Tables(extensions []edge.Extension) ([]config.Table, error) {
	_, tables, err := check(extensions)
	return tables, err
}

// check holds the extensions to their contract, beside the service's own rows.
func check(extensions []edge.Extension) (*extension.Set, []config.Table, error) {
	set, err := extension.New(extensions)
	if err == nil {
		err = api.Check(set.Routes())
	}
	if err != nil {
		return nil, nil, err
	}
	return set, slices.Concat(own, set.Tables()), nil
}

// startExtensions is for before the first request.
func (a *App) startExtensions(ctx context.Context) error {
	if err := a.added.Start(ctx, a.Log.Logger, a.record.events.Record); err != nil {
		return err
	}
	a.endExtensions = a.added.Run(a.health, a.Log.Logger, a.record.events.Record)
	return nil
}

// stopExtensions ends their loops and checks, when no request runs any more.
func (a *App) stopExtensions() {
	if a.endExtensions == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.endExtensions(ctx); err != nil {
		a.Log.Warn(err)
	}
	a.endExtensions = nil
}
