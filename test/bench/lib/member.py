"""A host of a mesh, for its memory: a server, a join, and the agent with its defaults. In a namespace (in-netns): it captures."""
import os, subprocess, time

from .proc import BENCH, port, spawn, stop

WEFT = os.environ.get("WEFT_BIN", os.path.join(BENCH, "../../build/release/weft"))


class Member:
    def __init__(self, a):
        self.dir = os.path.join(a.scratch, f"member-{os.getpid()}-{port()}")
        self.server = self.agent = None

    def weft(self, *args):
        r = subprocess.run([WEFT, *args], capture_output=True, text=True, env=self.env())
        if r.returncode:
            raise RuntimeError(f"weft {' '.join(args)}: {r.stderr}")
        return r.stdout

    def env(self):
        d = self.dir
        return dict(os.environ, WEFT_STATE_DIR=d + "/state", WEFT_CONFIG_DIR=d + "/etc", WEFT_SOCKET=d + "/api.sock",
                    WEFT_AGENT_SOCKET=d + "/agent.sock")

    def start(self):
        os.makedirs(self.dir + "/etc/services.d")
        self.weft("server", "init", "--listen", "127.0.0.1:15012", "--advertise", "127.0.0.1:15012")
        self.server = spawn([WEFT, "server", "run"], env=self.env(), log=self.dir + "/server.log")
        self.until(lambda: os.path.exists(self.dir + "/api.sock"), "the server's socket")
        with open(self.dir + "/etc/services.d/web.ini", "w") as f:
            f.write("[service web]\nport = 8080\nprotocol = http\n")
        token = [w for w in self.weft("token", "create").split() if w.startswith("weft1.")][0]
        self.weft("join", "--address", "127.0.0.1", token)
        self.agent = spawn([WEFT, "agent", "run"], env=self.env(), log=self.dir + "/agent.log")
        self.until(lambda: "server connected" in self.log() and "capture by" in self.log(), "the agent's link")

    def log(self):
        with open(self.dir + "/agent.log", errors="replace") as f:
            return f.read()

    def until(self, fact, what):
        end = time.time() + 20
        while not fact():
            if time.time() > end:
                raise RuntimeError(f"{what}: not there after 20 s; logs in {self.dir}")
            time.sleep(0.05)

    def pids(self):
        return {"A": self.agent.pid}

    def stop(self):
        for p in (self.agent, self.server):
            if p:
                stop(p)
