"""Runs the cases of the programs truth-* and holds what is found in them against their ledgers, live
and at exit. Usage: truth.py PROGRAMS-FOLDER LIBRARY MEMPROF SCRATCH MODE...

A mode is a way in which the world is stopped: options, what starts the program, and what is to be
asked of it."""
import concurrent.futures
import os
import sys

import verdicts

folder, library, memprof, scratch = sys.argv[1:5]
wanted = sys.argv[5:]
only = os.environ.get('MEMPROF_LEAK_CASE')
full = os.environ.get('MEMPROF_FULL') == '1'
limit = 60
answer_limit = 20

# extra options, what starts the program, does it find all that is lost?
MODES = {
    'ptrace': ('', [], True),
    'signal': ('', [os.path.join(folder, 'no-ptrace')], True),
    # Only what two scans agree on: what is found is leaked, and what moves may be missed.
    'two-scan': ('signal=off:control=thread', [os.path.join(folder, 'no-ptrace')], False),
}


def judge(ledger, found, exact, unseen):
    if ledger.unseen and unseen:
        return []
    if exact:
        return verdicts.differences(ledger, found)
    objects, size = verdicts.wrongly_leaked(ledger, found)
    return ['%d bytes in %d objects are called leaked, and are not' % (size, objects)] if objects else []


def judge_live(ledger, document, mode):
    exact = MODES[mode][2]
    unseen = document['unseen_bytes'] > 0
    problems = judge(ledger, verdicts.Found.in_json(document), exact, unseen)
    if document['world'] != mode:
        problems.append('the world was stopped by %s' % document['world'])
    if exact and document['threads_missed'] > (ledger.deaf if mode == 'signal' else 0):
        problems.append('%d threads were missed' % document['threads_missed'])
    if not exact or (ledger.unseen and unseen):
        return problems
    # What was counted without any stack.
    counted = document['exact']
    lost = counted['leaked_objects'] + counted['indirect_objects']
    if lost != ledger.count('direct', 'indirect', 'cycle'):
        problems.append('%d objects are counted as leaked' % lost)
    if counted['reachable_objects'] < ledger.count('reachable'):
        problems.append('%d objects are counted as reachable' % counted['reachable_objects'])
    return problems


def run(program, name, mode, live):
    """What is wrong: live, and at exit."""
    options, wrapper, exact = MODES[mode]
    options = ':'.join(['rate=1', 'leaks=exit'] + ([options] if options else []))
    command = wrapper + ['env', 'LD_PRELOAD=' + library, 'MEMPROF_OPTIONS=' + options,
                         os.path.join(folder, program), name]
    errors = os.path.join(scratch, '.'.join((program, name, mode, 'live' if live else 'exit')))
    case = verdicts.Run(command, errors, limit)
    at_live, document = ['the program says nothing'], None
    if case.ready and live:
        document = verdicts.ask(memprof, case.process.pid, answer_limit)
        at_live = [document] if isinstance(document, str) else judge_live(case.ledger, document, mode)
    status, text = case.end()
    lost = case.ledger.count('direct', 'indirect', 'cycle')
    if not case.ready:
        at_exit = ['status %s, and the program says nothing' % status]
    else:
        found = verdicts.Found.in_text(text)
        unseen = case.ledger.unseen and 'were not searched for pointers' in text
        at_exit = judge(case.ledger, found, exact, unseen)
        right = (0, 23) if not exact or unseen else (23,) if lost else (0,)
        if status not in right or status != (23 if found.sites else 0):
            at_exit.insert(0, 'status %s' % status)
    return at_live, at_exit


def both(case):
    program, name, fact, mode = case
    results = list(zip(('live', 'at exit'), run(program, name, mode, True)))
    if full:
        # Without the search before it.
        results.append(('at exit alone', run(program, name, mode, False)[1]))
    return [('%s, %s: %s' % (where, mode, fact), problems) for where, problems in results]


cases = [(program, name, fact, mode) for mode in wanted for program in verdicts.PROGRAMS
         if os.path.exists(os.path.join(folder, program))
         for name, fact in verdicts.cases_of(os.path.join(folder, program))
         if only in (None, name, program)]
failed = False
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for case, results in zip(cases, pool.map(both, cases)):
        for name, problems in results:
            if problems:
                failed = True
                print('not ok %s: %s (%s %s)' % (name, '; '.join(problems[:4]), case[0], case[1]))
            else:
                print('ok ' + name)
            sys.stdout.flush()
sys.exit(failed)
