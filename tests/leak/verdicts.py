"""What the programs truth-* say of their blocks, what a search for leaks says of them, and how the two
differ. For truth.py and peers."""
import json
import re
import subprocess
import threading

VERDICTS = ('keep_', 'lost_behind_', 'lost_', 'loop_')
PROGRAMS = ('truth-graphs', 'truth-blocks', 'truth-roots', 'truth-maps', 'truth-stacks', 'truth-threads',
            'truth-cxx')


def plain(function):
    """A function's name without its arguments, or what a compiler has appended."""
    return re.sub(r'[(.\[].*', '', function or '')


def site_of(functions):
    """The innermost one that is a site; none is: the innermost of all."""
    for function in functions:
        if plain(function).startswith(VERDICTS):
            return plain(function)
    return 'in ' + ' < '.join(plain(f) or '?' for f in functions[:4])


class Ledger:
    """sites: {name: (verdict, objects, bytes)}; bytes is None where libc decides on them. deaf: threads
    that no signal reaches. unseen: what is not searched may hold blocks, if the report says so."""

    def __init__(self):
        self.sites, self.cycles, self.deaf, self.unseen = {}, 0, 0, False

    def read(self, line):
        words = line.split()
        if words[0] == 'cycles':
            self.cycles = int(words[1])
        elif words[0] == 'deaf':
            self.deaf = int(words[1])
        elif words[0] == 'unseen':
            self.unseen = words[1] == '1'
        else:
            verdict, name, objects, size = words
            self.sites[name] = (verdict, int(objects), None if size == '?' else int(size))

    def count(self, *verdicts):
        return sum(s[1] for s in self.sites.values() if s[0] in verdicts)


class Found:
    """sites: {name: {'direct': [objects, bytes], 'indirect': [objects, bytes]}}"""

    def __init__(self):
        self.sites = {}

    def add(self, kind, functions, objects, size):
        site = self.sites.setdefault(site_of(functions), {'direct': [0, 0], 'indirect': [0, 0]})
        site[kind][0] += objects
        site[kind][1] += size

    def total(self, name):
        site = self.sites.get(name, {})
        return [sum(s[i] for s in site.values()) for i in (0, 1)]

    @classmethod
    def in_json(cls, document):
        found = cls()
        for leak in document['leaks']:
            functions = [f['function'] for f in leak['frames']]
            if leak['estimated'] or leak['suppressed']:
                functions = ['estimated, or suppressed']
            found.add(leak['kind'], functions, leak['objects'], leak['bytes'])
        return found

    @classmethod
    def in_text(cls, text):
        """LeakSanitizer's report, whoever has written it."""
        found = cls()
        leak = r'^(Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\) allocated from:\n'
        for match in re.finditer(leak + r'((?: +#\d.*\n)*)', text, re.M):
            functions = re.findall(r'#\d+ 0x[0-9a-f]+ in (\S+)', match[4])
            found.add(match[1].lower(), functions, int(match[3]), int(match[2]))
        return found


def differences(ledger, found):
    """All that is not as it should be, worst first."""
    false, missed, other = [], [], []
    direct_in_cycles = 0
    for name in found.sites:
        if name not in ledger.sites or ledger.sites[name][0] == 'reachable':
            false.append('%s is called leaked: %d objects, %d bytes' % (name, *found.total(name)))
    for name, (verdict, objects, size) in ledger.sites.items():
        if verdict == 'reachable':
            continue
        have = found.total(name)
        want = [objects, have[1] if size is None else size]
        if have != want:
            (missed if have[0] < objects else other).append(
                '%s: %d objects and %d bytes are leaked, and %d and %d found' % (name, *want, *have))
            continue
        kinds = found.sites[name]
        direct_in_cycles += kinds['direct'][0] if verdict == 'cycle' else 0
        if verdict in kinds and kinds[verdict][0] != objects:
            other.append('%s: of %d objects %d are %s' % (name, objects, kinds[verdict][0], verdict))
    if ledger.cycles and not missed and direct_in_cycles != ledger.cycles:
        other.append('%d direct leaks in %d cycles' % (direct_in_cycles, ledger.cycles))
    return false + missed + other


def wrongly_leaked(ledger, found):
    """Bytes and objects that are called leaked, and are not."""
    bad = [found.total(n) for n in found.sites
           if n not in ledger.sites or ledger.sites[n][0] == 'reachable']
    return sum(b[0] for b in bad), sum(b[1] for b in bad)


class Run:
    """One case of a program, from its start to its end. `command` is what starts it."""

    def __init__(self, command, errors, limit, **more):
        self.ledger, self.ready = Ledger(), False
        self.errors = open(errors, 'w+', errors='replace')
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, **more)
        self.timed_out = False
        self.timer = threading.Timer(limit, self.kill)
        self.timer.start()
        for line in self.process.stdout:
            if line == 'ready\n':
                self.ready = True
                break
            self.ledger.read(line)

    def kill(self):
        self.timed_out = True
        self.process.kill()

    def end(self):
        """Its exit status, and what it has printed on stderr."""
        self.process.stdin.close()
        self.process.stdout.close()
        status = self.process.wait()
        self.timer.cancel()
        self.errors.seek(0)
        text = self.errors.read()
        self.errors.close()
        return 'too slow' if self.timed_out else status, text


def ask(memprof, pid, limit):
    """memprof leaks --json; a dictionary, or a string that says why there is none."""
    try:
        asked = subprocess.run([memprof, 'leaks', '--json', str(pid)], capture_output=True, text=True,
                               errors='replace', timeout=limit)
    except subprocess.TimeoutExpired:
        return 'memprof leaks is still running after %d s' % limit
    if asked.returncode not in (0, 1):
        return 'memprof leaks: status %d: %s' % (asked.returncode, asked.stderr.strip()[-300:])
    try:
        document = json.loads(asked.stdout)
    except ValueError as error:
        return 'memprof leaks: no JSON: %s' % error
    if asked.returncode != (1 if document['leaks'] else 0):
        return 'memprof leaks: status %d' % asked.returncode
    return document


def cases_of(program):
    """[(name, fact)]"""
    said = subprocess.run([program, 'list'], capture_output=True, text=True, check=True, timeout=60)
    return [tuple(line.split(' ', 1)) for line in said.stdout.splitlines()]
