// Package admin serves what a running homing knows of itself: /metrics for Prometheus, /healthz and /readyz for
// whoever starts and stops it. It reads snapshots and changes nothing.
//
// The metrics are one table, from which the collector, `homing metrics` and the tests are made: a metric that is not
// documented cannot be exported, nor one documented that is not exported.
package admin
