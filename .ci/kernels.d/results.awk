# Reads what the tests of a package print with -test.v. It prints a line for each test,
# "ok", "FAIL" or "skip" and a tab before it, and a line "skip" for each part of a test
# that is skipped, with the reason. Behind "FAIL" is what the test said. The last line is
# the package's own.

$1 == "===" {
	current = $3
	if (current !~ "/" && current != top) {
		top = current
		said = ""
	}
	next
}

# The lines of a Caddy's log are of no use here.
/^\{/ { next }

/^ *[a-z0-9_]+\.go:[0-9]+: / {
	reason[current] = $0
	sub(/^ *[a-z0-9_]+\.go:[0-9]+: /, "", reason[current])
}

/^ *--- SKIP: / { line("skip", $3 ": " reason[$3]) }
/^--- PASS: / { line("ok", $3 " " $4) }
/^--- FAIL: / {
	line("FAIL", $3 " " $4)
	printf "%s", said
	said = ""
}

/^(PASS|FAIL)$/ { verdict = $0 }

{ said = said $0 "\n" }

# A panic or a timeout has a status of its own, and no line that says which test it was.
END {
	if ($0 != "status 0" && !($0 == "status 1" && count["FAIL"])) {
		line("FAIL", top ": " $0)
		printf "%s", said
	} else if (!count["ok"]) {
		line("FAIL", "no test has run")
	}
	printf "%s%s: %s: %d passed, %d failed, %d skipped\n", title, package, verdict, count["ok"], count["FAIL"], count["skip"]
}

function line(result, text) {
	count[result]++
	print result "\t" title package ": " text
	fflush()
}
