"""deploy/kubernetes: manifests that agree with each other and with us."""

import os
import re
import shutil
import signal
import subprocess
import time

import kubernetes.client.models
import yaml

import quarrytest
import workers

FOLDER = os.path.join(workers.TOP, "deploy", "kubernetes")
COMPONENT = "app.kubernetes.io/component"


def load(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


def one(name):
    document, = load(name)
    return document


def named(name, kind):
    document, = [d for d in load(name) if d["kind"] == kind]
    return document


def arguments(container):
    """{option: value} of a container's arguments."""
    words = [w[2:].partition("=") for w in container["args"]
             if w.startswith("--")]
    return {name: value for name, _, value in words}


def port_of(endpoint):
    return int(endpoint.rpartition(":")[2])


PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float),
         "object": object}


def wrong(value, kind, where):
    """What of a value is not as the API's schema has it: texts."""
    inner = re.fullmatch(r"(?:list\[|dict\(str, )(.*)[])]", kind)
    if inner and kind[0] == "l":
        if not isinstance(value, list):
            return ["%s: no list" % where]
        return [w for i, v in enumerate(value)
                for w in wrong(v, inner[1], "%s[%d]" % (where, i))]
    if not inner and kind in PLAIN:
        # An amount may be a number.
        taken = (str, int) if ".resources." in where else PLAIN[kind]
        odd = isinstance(value, bool) and kind in ("int", "str")
        return [] if isinstance(value, taken) and not odd else [
            "%s: %r is no %s" % (where, value, kind)]
    if not isinstance(value, dict):
        return ["%s: no object" % where]
    if inner:
        return [w for k, v in value.items()
                for w in wrong(v, inner[1], where + "." + k)]
    model = getattr(kubernetes.client.models, kind)
    fields = {name: field for field, name in model.attribute_map.items()}
    found = ["%s.%s: not known" % (where, k) for k in value.keys() - fields]
    known = {k: v for k, v in value.items() if k in fields}
    for k, v in known.items():
        found += wrong(v, model.openapi_types[fields[k]], where + "." + k)
    try:
        model(**{fields[k]: v for k, v in known.items()})
    except ValueError as lacks:
        found.append("%s: %s" % (where, lacks))
    return found


class TestSchema(quarrytest.Base):
    """The models of Kubernetes' own client are made of the API's schema."""

    GROUPS = {"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1"}

    def test_manifests(self):
        for name in sorted(os.listdir(FOLDER)):
            if name == "kustomization.yaml":
                continue
            for document in load(name):
                self.assertIn(document["apiVersion"], self.GROUPS, name)
                self.assertEqual(wrong(document, "V1" + document["kind"],
                                       name), [])

    def test_what_is_wrong_is_found(self):
        def found(change):
            document = one("workers.yaml")
            change(document["spec"]["template"]["spec"], document["spec"])
            return "; ".join(wrong(document, "V1Deployment", "d"))

        for change, text in (
                (lambda pod, spec: pod.update(tolerence=[]), "not known"),
                (lambda pod, spec: pod.update(containers={}), "no list"),
                (lambda pod, spec: pod["containers"][0].pop("name"),
                 "`name`, must not be `None`"),
                (lambda pod, spec: spec.update(replicas="3"), "no int"),
                (lambda pod, spec: pod["containers"][0]["args"].append(1),
                 "no str"),
                (lambda pod, spec: pod["securityContext"].update(
                    runAsNonRoot="yes"), "no bool"),
                (lambda pod, spec: spec.pop("selector"), "`selector`")):
            self.assertIn(text, found(change))


class TestManifests(quarrytest.Base):
    def setUp(self):
        super().setUp()
        self.kinds = {"worker": one("workers.yaml"),
                      "coordinator": one("job.yaml"),
                      "serve": named("serve.yaml", "Deployment")}
        self.pods = {name: kind["spec"]["template"]["spec"]
                     for name, kind in self.kinds.items()}
        self.containers = {name: pod["containers"][0]
                           for name, pod in self.pods.items()}
        self.arguments = {name: arguments(c)
                          for name, c in self.containers.items()}

    def test_options_are_the_programs(self):
        known = {"worker": workers.worker_options(),
                 "coordinator": workers.known_options(
                     quarrytest.QUARRY, "help", "build"),
                 "serve": workers.known_options(
                     quarrytest.QUARRY, "help", "serve")}
        for name, given in self.arguments.items():
            self.assertEqual(set(given) - known[name], set())
        text = workers.text("deploy", "kubernetes", "workers.yaml")
        offered = workers.options_of(re.findall(r"# - (--\S+)", text))
        self.assertIn("substituter", offered)
        self.assertEqual(set(offered) - known["worker"], set())

    def test_every_file_is_listed_or_by_hand(self):
        kustomization = one("kustomization.yaml")
        files = set(os.listdir(FOLDER)) - {"kustomization.yaml"}
        self.assertEqual(files - set(kustomization["resources"]),
                         {"job.yaml", "secret.yaml", "serve.yaml"})

    def test_images(self):
        image, = one("kustomization.yaml")["images"]
        self.assertEqual(self.containers["worker"]["image"], image["name"])
        for name in ("coordinator", "serve"):
            self.assertEqual(self.containers[name]["image"],
                             "%s:%s" % (image["newName"], image["newTag"]))
        version = self.quarry("--version").stdout.decode().split()[1]
        self.assertEqual(image["newTag"], version)

    def test_ports_and_names(self):
        service = one("service.yaml")
        control = port_of(self.arguments["coordinator"]["listen"])
        want = {"control": control, "data": control + 1}
        clients = port_of(self.arguments["serve"]["clients"])
        other = {"clients": clients, "blobs": clients + 1}
        for name, more in (("coordinator", {}), ("serve", other)):
            metrics = int(self.arguments[name]["metrics"].rpartition(":")[2])
            self.assertEqual({p["name"]: p["containerPort"] for p in
                              self.containers[name]["ports"]},
                             want | more | {"metrics": metrics})
            for probe in (k for k in self.containers[name]
                          if k.endswith("Probe")):
                self.assertEqual(self.containers[name][probe]["httpGet"],
                                 {"path": "/healthz", "port": "metrics"})
        self.assertEqual({p["name"]: p["port"] for p in named(
            "serve.yaml", "Service")["spec"]["ports"]}, other)
        self.assertEqual({p["name"]: p["port"] for p in
                          service["spec"]["ports"]}, want)
        for port in service["spec"]["ports"]:
            self.assertEqual(port["targetPort"], port["name"])
        self.assertEqual(self.arguments["worker"]["connect"],
                         "tcp://%s:%d" % (service["metadata"]["name"],
                                          control))

    def test_labels(self):
        for name, kind in self.kinds.items():
            labels = kind["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(labels[COMPONENT],
                             name.replace("serve", "coordinator"))
            # Workers find either by one name.
            if name != "worker":
                self.assertEqual(labels | one("service.yaml")["spec"]
                                 ["selector"], labels)
        serve = self.kinds["serve"]["spec"]
        self.assertEqual(serve["selector"]["matchLabels"],
                         serve["template"]["metadata"]["labels"])
        self.assertEqual(
            named("serve.yaml", "Service")["spec"]["selector"],
            serve["template"]["metadata"]["labels"])
        worker = self.kinds["worker"]["spec"]
        self.assertEqual(worker["selector"]["matchLabels"],
                         worker["template"]["metadata"]["labels"])
        self.assertEqual(
            one("service.yaml")["spec"]["selector"],
            self.kinds["coordinator"]["spec"]["template"]["metadata"]
            ["labels"])

    def test_network_policy(self):
        control = port_of(self.arguments["coordinator"]["listen"])
        policies = {p["spec"]["podSelector"]["matchLabels"][COMPONENT]:
                    p["spec"] for p in load("network-policy.yaml")}
        self.assertEqual(set(policies), {"worker", "coordinator"})
        rules = (policies["worker"]["egress"][0]["to"],
                 policies["worker"]["egress"][0]["ports"], "coordinator",
                 policies["coordinator"]["ingress"][0]["from"],
                 policies["coordinator"]["ingress"][0]["ports"], "worker")
        for peers, ports, component in (rules[:3], rules[3:]):
            self.assertEqual([p["port"] for p in ports],
                             [control, control + 1])
            self.assertEqual(peers[0]["podSelector"]["matchLabels"]
                             [COMPONENT], component)
        self.assertEqual(policies["worker"]["ingress"], [])
        for policy in policies.values():
            self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        rule, = named("serve.yaml", "NetworkPolicy")["spec"]["ingress"]
        clients = port_of(self.arguments["serve"]["clients"])
        self.assertEqual([p["port"] for p in rule["ports"]],
                         [clients, clients + 1])

    def test_paths_are_mounted(self):
        """Of each argument that is a path; and each mount has a volume."""
        for name, container in self.containers.items():
            mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
            volumes = {v["name"] for v in self.pods[name]["volumes"]}
            self.assertEqual({m["name"] for m in mounts.values()}, volumes)
            self.assertNotIn("/nix/store", mounts)
            if name != "serve":  # it makes no layers itself
                self.assertTrue(mounts["/host/nix/store"]["readOnly"])
            values = [v.partition(":")[2] if k == "to" else v
                      for k, v in self.arguments[name].items()]
            for path in (v for v in values if v.startswith("/")):
                if path == "/host":  # of the workers
                    continue
                self.assertTrue(
                    any((path + "/").startswith(m.rstrip("/") + "/")
                        or m.startswith(path + "/") for m in mounts),
                    (name, path))
        self.assertEqual(self.arguments["coordinator"]["store-root"],
                         "/host")

    def test_keys_are_in_the_secrets(self):
        secrets = {s["metadata"]["name"]: set(s["stringData"])
                   for s in load("secret.yaml")}
        for name, pod in self.pods.items():
            secret, = [v["secret"] for v in pod["volumes"] if "secret" in v]
            wanted = {v[len("/keys/"):] for v in self.arguments[name].values()
                      if v.startswith("/keys/")}
            self.assertEqual(wanted - secrets[secret["secretName"]], set())
            # With fsGroup the files are root's, 0440: what we take.
            self.assertEqual(secret["defaultMode"], 0o400)
            self.assertIn("fsGroup", pod["securityContext"])

    def test_hardened(self):
        for name, pod in self.pods.items():
            self.assertIs(pod["automountServiceAccountToken"], False)
            context = pod["securityContext"]
            self.assertIs(context["runAsNonRoot"], True)
            self.assertNotEqual(context["runAsUser"], 0)
            self.assertEqual(context["seccompProfile"]["type"],
                             "RuntimeDefault")
            for container in pod["containers"]:
                own = container["securityContext"]
                self.assertIs(own["readOnlyRootFilesystem"], True)
                self.assertIs(own["allowPrivilegeEscalation"], False)
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertIn("memory", container["resources"]["limits"])
            for volume in pod["volumes"]:
                if "emptyDir" in volume:
                    self.assertIn("sizeLimit", volume["emptyDir"], name)

    def test_times(self):
        self.assertGreaterEqual(
            self.pods["worker"]["terminationGracePeriodSeconds"],
            int(self.arguments["worker"]["drain"]) + 20)

    def test_the_worker_waits_for_the_service(self):
        """It takes its arguments, and a name that is not there yet."""
        for name in ("key", "coordinator"):
            self.quarry("keygen", self.path(name))
        given = dict(self.arguments["worker"], spool=self.path("spool"),
                     connect="tcp://quarry-coordinator.invalid:4711")
        given["server-key"] = self.path("coordinator.pub")
        given["key"] = self.path("key")
        worker = self.start(*["--%s=%s" % o for o in given.items()],
                            program=[quarrytest.WORKER])
        self.assertTrue(quarrytest.wait_for(
            lambda: worker.poll() is not None
            or quarrytest.blocks(worker.pid, signal.SIGTERM)))
        time.sleep(1)
        self.assertIsNone(worker.poll())
        worker.terminate()
        r = self.finish(worker)
        self.assertEqual(r.status, 0, r.errors)

    def test_kustomize(self):
        """Where kubectl is: it makes one stream of all, images set."""
        if shutil.which("kubectl") is None:
            return  # too large a package for this; the rest is checked above
        p = subprocess.run(["kubectl", "kustomize", FOLDER], timeout=60,
                           env=self.env, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        self.assertEqual(p.returncode, 0, p.stderr)
        made = list(yaml.safe_load_all(p.stdout))
        self.assertEqual(sorted(d["kind"] for d in made), [
            "Deployment", "Namespace", "NetworkPolicy", "NetworkPolicy",
            "Service"])
        for d in made:
            if d["kind"] != "Namespace":
                self.assertEqual(d["metadata"]["namespace"], "quarry")
        deployment, = [d for d in made if d["kind"] == "Deployment"]
        container, = deployment["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["image"],
                         self.containers["coordinator"]["image"])


if __name__ == "__main__":
    quarrytest.main()
