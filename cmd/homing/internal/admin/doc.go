// Package admin serves what a running homing knows of itself, and does what operators ask for: the versioned API under
// /v1 with its OpenAPI description, the status page, /metrics for Prometheus, /healthz and /readyz for whoever starts
// and stops it, and pprof.
//
// The path of what is read: loops count by atomics; the keeper looks at the backends every second, keeps a sample every
// two, and counts the tables while somebody asks; a request puts together what is there. Nothing that is read posts to
// a loop or waits for one. A change is made in the pools, or sent to all nodes as an order, and then waits once for the
// loops to have seen it.
//
// The metrics are one table, from which the collector, `homing metrics` and the tests are made: a metric that is not
// documented cannot be exported, nor one documented that is not exported. The API's types are in package api, each
// field with its meaning.
package admin
