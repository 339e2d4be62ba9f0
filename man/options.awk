# Makes the manual: awk -v version=V -f options.awk options.def libmemprof.7.in
#
# The first file is the library's table of options, rows OPTION(key, kind, default, values, help)
# that may go over several lines, between C comments. The second is the manual's source; in it the
# line `@OPTIONS@` becomes the table, and `@VERSION@` the version.
#
# Anything in the table that this does not understand is an error: a manual that lacks an option
# would otherwise go unseen.

function fail(message) {
    print "options.awk: " message > "/dev/stderr"
    failed = 1
    exit 1
}

# troff reads a dot or an apostrophe at the start of a line, and backslashes and hyphens anywhere.
function troff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/)
        text = "\\&" text
    return text
}

# Takes the next argument of a row off `rest`: a bare word, or C strings side by side.
function argument(    value, part) {
    sub(/^[ \t]+/, "", rest)
    if (rest !~ /^"/) {
        if (!match(rest, /^[A-Za-z_][A-Za-z0-9_]*/))
            fail("cannot read: " rest)
        value = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
    }
    while (match(rest, /^[ \t]*"([^"\\]|\\.)*"/)) {
        part = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
        sub(/^[ \t]*"/, "", part)
        sub(/"$/, "", part)
        gsub(/\\"/, "\"", part)
        value = value part
    }
    sub(/^[ \t]+/, "", rest)
    return value
}

function separator(wanted) {
    if (substr(rest, 1, 1) != wanted)
        fail("wanted '" wanted "' before: " rest)
    rest = substr(rest, 2)
}

function read_table(    key, kind, fallback, values, help) {
    # Comments out; none of the strings has one in it.
    while (match(text, /\/\*/)) {
        rest = substr(text, RSTART + 2)
        text = substr(text, 1, RSTART - 1)
        if (!match(rest, /\*\//))
            fail("a comment has no end")
        text = text " " substr(rest, RSTART + 2)
    }
    rest = text
    for (;;) {
        sub(/^[ \t]+/, "", rest)
        if (rest == "")
            break
        if (rest !~ /^OPTION\(/)
            fail("wanted OPTION( before: " rest)
        rest = substr(rest, 8)
        key = argument(); separator(",")
        kind = argument(); separator(",")
        fallback = argument(); separator(",")
        values = argument(); separator(",")
        help = argument(); separator(")")
        gsub(/\|/, ", ", values)
        table = table ".TP\n\\fB" key "\\fP=\\fI" troff(values) "\\fP\n" \
            sentence(help) "\nDefault: " (fallback == "" ? "none" : "\\fB" troff(fallback) "\\fP") ".\n"
        count++
    }
    if (count == 0)
        fail("no options")
}

function sentence(help) {
    return troff(toupper(substr(help, 1, 1)) substr(help, 2)) "."
}

FNR == 1 { files++ }

files == 1 {
    text = text " " $0
    next
}

FNR == 1 { read_table() }

/^@OPTIONS@$/ {
    printf "%s", table
    used = 1
    next
}

{
    gsub(/@VERSION@/, version)
    print
}

END {
    if (!failed && !used)
        fail("no line @OPTIONS@")
}
