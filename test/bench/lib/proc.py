"""Processes, their CPU and memory, and ports."""
import atexit, os, signal, socket, subprocess, time

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.normpath(os.path.join(BENCH, "../../build/bench"))
TICK = os.sysconf("SC_CLK_TCK")
procs = []          # everything we started
next_port = [int(os.environ.get("BENCH_PORT", "21000"))]
args_nice = [0]


def port():
    next_port[0] += 1
    return next_port[0]


def tree(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/children") as f:
                    todo += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return out


def cpu(pid):
    """CPU seconds of a process, its live descendants and those it has waited for (utime+stime, all threads)."""
    total = 0.0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                total += sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:15]) / TICK
        except (OSError, IndexError):
            pass
    return total


def mem(pid):
    """(rss, pss) in bytes, summed over the process tree."""
    rss = pss = 0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                for line in f:
                    if line.startswith("Rss:"):
                        rss += int(line.split()[1]) * 1024
                    elif line.startswith("Pss:"):
                        pss += int(line.split()[1]) * 1024
        except OSError:
            pass
    return rss, pss


def machine():
    with open("/proc/stat") as f:
        v = [int(x) / TICK for x in f.readline().split()[1:]]
    return sum(v) - v[3] - v[4] - v[7], v[7]       # busy (without steal), steal


def stop(p):
    pids = tree(p.pid)
    if p.poll() is None:
        p.terminate()
        try:
            p.wait(3)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
    for q in pids[1:]:                       # workers that outlived their master
        try:
            os.kill(q, signal.SIGKILL)
        except OSError:
            pass
    procs[:] = [x for x in procs if x is not p]


@atexit.register
def stop_all():
    for p in list(procs):
        stop(p)


def spawn(argv, env=None, log=None):
    out = open(log, "wb") if log else subprocess.DEVNULL
    p = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                         start_new_session=True)
    procs.append(p)
    if args_nice[0]:                       # each session is its own scheduler autogroup: nice it as well
        autogroup(p.pid)
    return p


def autogroup(pid):
    try:
        with open(f"/proc/{pid}/autogroup", "w") as f:
            f.write(str(args_nice[0]))
    except OSError:
        pass


def wait_port(p, prt, secs=60, what=""):
    end = time.time() + secs
    while time.time() < end:
        if p.poll() is not None:
            raise RuntimeError(f"{what}: exited {p.returncode}")
        s = socket.socket()
        try:
            s.connect(("127.0.0.1", prt))
            return
        except OSError:
            time.sleep(0.005)
        finally:
            s.close()
    raise RuntimeError(f"{what}: port {prt} not open after {secs}s")
