-- Prints what wrk measured in a form for programs. Errors of reading are left out: a
-- server that closes after its response is one to wrk.
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("SUMMARY %d %d %d %d\n", summary.requests, summary.bytes, summary.duration,
		e.connect + e.write + e.status + e.timeout))
end
