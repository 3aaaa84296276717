#!/usr/bin/env python3
"""Image config, docker manifest, OCI manifest and index, written anew.

An independent second opinion for coordinator/image/image_json.c, made from the
format's description with Python's own json: what the reference's script does.
Importable; as a program it reads one JSON description a line and writes the
four documents of each, every one followed by a NUL.
"""
import hashlib
import json
import sys


def merge_env(base_config, config):
    """The config with the base image's Env below its own."""
    if base_config is None:
        return config
    entries = (base_config.get("Env") or []) + (config.get("Env") or [])
    if not entries:
        return config
    by_name = {}
    for entry in entries:
        by_name[entry.split("=", 1)[0]] = entry
    merged = dict(config)
    merged["Env"] = list(by_name.values())
    return merged


def config_json(created, architecture, os, config, base_config, layers):
    """The bytes whose SHA-256 is the image ID.

    layers: a list of {"diff_id": "sha256:...", "paths": [...]}, bottom first.
    """
    document = {
        "created": created,
        "architecture": architecture,
        "os": os,
        "config": merge_env(base_config, config),
        "rootfs": {
            "diff_ids": [layer["diff_id"] for layer in layers],
            "type": "layers",
        },
        "history": [
            {
                "created": created,
                "comment": f"store paths: {layer['paths']}",
            }
            for layer in layers
        ],
    }
    return json.dumps(document, indent=4).encode("ascii")


def docker_manifest(config_name, repo_tag, layer_names):
    """manifest.json of a docker-archive."""
    document = [
        {
            "Config": config_name,
            "RepoTags": [repo_tag],
            "Layers": layer_names,
        }
    ]
    return json.dumps(document, indent=4).encode("ascii")


def compact(document):
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def oci_manifest(config, layers):
    """layers: a list of {"media_type", "digest", "size"}."""
    return compact(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": layer["media_type"],
                    "digest": layer["digest"],
                    "size": layer["size"],
                }
                for layer in layers
            ],
        }
    )


def full_reference(name, tag):
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return f"{name}:{tag}"
    if slash:
        return f"docker.io/{name}:{tag}"
    return f"docker.io/library/{name}:{tag}"


def oci_index(manifest, name, tag, architecture, os):
    return compact(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": sha256(manifest),
                    "size": len(manifest),
                    "platform": {"architecture": architecture, "os": os},
                    "annotations": {
                        "io.containerd.image.name": full_reference(name, tag),
                        "org.opencontainers.image.ref.name": tag,
                    },
                }
            ],
        }
    )


def default_tag(config):
    return hashlib.sha256(config).hexdigest()[:32]


def main():
    for line in sys.stdin.buffer:
        image = json.loads(line)
        config = config_json(
            image["created"],
            image["architecture"],
            image["os"],
            image["config"],
            image["base_config"],
            image["layers"],
        )
        tag = image["tag"] or default_tag(config)
        names = [layer["name"] for layer in image["layers"]]
        manifest = oci_manifest(config, image["layers"])
        for document in (
            config,
            docker_manifest("c.json", f"{image['name']}:{tag}", names),
            manifest,
            oci_index(
                manifest, image["name"], tag, image["architecture"],
                image["os"],
            ),
        ):
            sys.stdout.buffer.write(document + b"\0")


if __name__ == "__main__":
    main()
