// Package report tells the findings of judge to people and programs: as text, as JSON, as one HTML page that needs nothing
// beside itself, in a terminal while they grow, and as Prometheus metrics.
package report
