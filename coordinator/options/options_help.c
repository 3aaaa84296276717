#include "options/options.h"

/* The lines are as they look on the terminal. */
/* clang-format off */

#define INPUT \
"Input:\n" \
"  REQUEST.json            what to build, with nixpkgs' argument names: name,\n" \
"                          tag, contents, paths, config, created, mtime, uid,\n" \
"                          gid, uname, gname, architecture, maxLayers,\n" \
"                          strategy, fromImage, includeStorePaths,\n" \
"                          directories, rootTree, storeDir; or the file that\n" \
"                          streamLayeredImage hands its script.  - is\n" \
"                          standard input\n" \
"  STORE-PATH...           contents of the image: linked at / and included\n" \
"                          with their closures\n" \
"  --closure FILE          the closure: JSON of nix path-info, .attrs.json,\n" \
"                          closureInfo's registration or the text of\n" \
"                          exportReferencesGraph; - is standard input\n" \
"                          (default: Nix is asked)\n" \
"  --store-root DIR        the store lies under DIR: what the image shows as\n" \
"                          /nix/store/X is read from DIR/nix/store/X\n"

#define IMAGE \
"Image (each wins over the request file):\n" \
"  --name NAME             [HOST[:PORT]/]NAME[/NAME...]\n" \
"  --tag TAG               (default: the first 32 digits of the image ID)\n" \
"  --config FILE           JSON object: Cmd, Entrypoint, Env, User,\n" \
"                          WorkingDir, ...; store paths that it names are\n" \
"                          included.  - is standard input\n" \
"  --path STORE-PATH       include it, but do not link it at /; may be given\n" \
"                          several times, and adds to the request's paths\n" \
"  --created TIME          ISO 8601, @SECONDS since 1970, or now\n" \
"                          (default: 1970-01-01T00:00:01Z)\n" \
"  --mtime TIME            of every file; as --created\n" \
"  --uid N, --gid N        owner of every file (default: 0)\n" \
"  --uname NAME            (default: root)\n" \
"  --gname NAME            (default: root)\n" \
"  --architecture NAME     amd64, arm64, ...; also --arch\n" \
"                          (default: this machine's)\n" \
"  --max-layers N          of the whole image (default: 100)\n" \
"  --strategy NAME         popularity or size: how store paths are put into\n" \
"                          layers (default: popularity)\n" \
"  --from-image FILE       base image: docker-archive, OCI archive or layout,\n" \
"                          or docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]\n" \
"  --include-store-paths=true|false\n" \
"                          false: only the root layer (default: true)\n" \
"  --root-tree DIR         copy what is in DIR to the image's /\n" \
"  --store-dir DIR         (default: /nix/store)\n"

#define REGISTRY \
"Registry:\n" \
"  --authfile FILE         users and passwords, as podman login and docker\n" \
"                          login write them (default: where they do)\n" \
"  --cert-dir DIR          authorities to trust besides the system's (*.crt),\n" \
"                          and a client's certificate (NAME.cert, NAME.key)\n" \
"  --tls-verify true|false false: take any certificate, and plain HTTP\n" \
"                          (default: true)\n" \
"  --token-server HOST     a host besides the registry's own that may be sent\n" \
"                          the password for tokens; may be given several times\n" \
"  --registry-timeout N    give up an exchange that has stood still for N\n" \
"                          seconds, and try again (default: 60)\n"

#define GENERAL \
"General:\n" \
"  --verbose               say more on standard error\n" \
"  --help                  this text\n" \
"  --version               quarry's version\n"

#define STATUS \
"Exit status: 0 done; 1 failed at work; 2 wrong use or input; 130 and 143\n" \
"ended by SIGINT and SIGTERM.\n"

static const char overview[] =
"quarry builds layered container images from Nix closures.\n"
"\n"
"Usage:\n"
"  quarry build [OPTION...] REQUEST.json | STORE-PATH...   build an image\n"
"  quarry batch [OPTION...] FILE                           build many images\n"
"  quarry plan [OPTION...] REQUEST.json | STORE-PATH...    show its layers\n"
"  quarry serve [OPTION...] --clients ENDPOINT             make layers for\n"
"                                                          many builds\n"
"  quarry index NAME --manifest IMAGE...                   several architectures\n"
"  quarry keygen FILE                                      make a key pair\n"
"  quarry cache list|verify|prune                          layers made before\n"
"  quarry status --coordinator ENDPOINT                    how a server is doing\n"
"  quarry help [COMMAND]                                   explain a command\n"
"  quarry --version\n"
"\n"
"Example:\n"
"  quarry build /nix/store/...-hello-2.12 --name hello \\\n"
"      --to docker-archive:hello.tar\n"
"  podman load -i hello.tar\n"
"\n"
STATUS;

static const char build[] =
"Builds a layered container image from a Nix closure.\n"
"\n"
"Usage:\n"
"  quarry build [OPTION...] --to TARGET REQUEST.json\n"
"  quarry build [OPTION...] --to TARGET --name NAME STORE-PATH...\n"
"\n"
INPUT
"  --verify-store          hold what is read against the closure's narHash\n"
"\n"
IMAGE
"\n"
"Output:\n"
"  --to TARGET             where the image goes; may be given several times:\n"
"                            docker-archive:FILE  for docker and podman load\n"
"                            oci-archive:FILE     OCI layout in a tar\n"
"                            oci:DIR              OCI layout\n"
"                            docker://HOST[:PORT]/REPOSITORY[:TAG]\n"
"                                                 a registry (TAG: as --tag)\n"
"                            none                 digests only\n"
"                          FILE - is standard output\n"
"  --encoding none|gzip[:1-12]|zstd[:1-19]\n"
"                          of layers in OCI outputs (default: none; gzip\n"
"                          where a registry is among them)\n"
"  --format oci|docker     of manifests in registries: OCI's, or Docker's image\n"
"                          manifest, version 2, schema 2 (default: oci)\n"
"  --dialect pax|gnu       of layer tars: as Python's tarfile writes them, or\n"
"                          as GNU tar does (default: pax)\n"
"  --metadata-file FILE    JSON: image ID, digests, sizes and times of layers;\n"
"                          - is standard output\n"
"\n"
"  --cache DIR             layers made before, and where those that are made\n"
"                          now are kept (default: $XDG_CACHE_HOME/quarry or\n"
"                          ~/.cache/quarry, and only for compressed layers)\n"
"  --cache-size SIZE       what is least recently used goes beyond it\n"
"                          (default: 20G; K, M, G and T are powers of 1024)\n"
"  --no-cache              make every layer, and keep none\n"
"  --cache-repo HOST[:PORT]/REPOSITORY\n"
"                          a repository of a registry where layers that others\n"
"                          have made are found, and those made now are put\n"
"\n"
REGISTRY
"  --push-from workers|coordinator\n"
"                          who puts layers there (default: workers, each as\n"
"                          soon as it is done)\n"
"  --stream                send layers there while they are made, without a\n"
"                          file of them; only for outputs in one registry\n"
"\n"
"Work:\n"
"  --slots N               layers worked on at once (default: this machine's\n"
"                          cores)\n"
"  --workers N             local worker processes that share the slots\n"
"                          (default: 1)\n"
"  --worker-program FILE   (default: quarry-worker beside quarry, then on\n"
"                          PATH)\n"
"  --coordinator ENDPOINT  have layers made by a coordinator that stays up\n"
"                          (quarry serve), at tcp://HOST:PORT; only the root\n"
"                          layer is made here\n"
"  --server-key KEY        that coordinator's public key, or the file that has\n"
"                          it; --key is then this client's\n"
"  --listen ENDPOINT       let workers of other machines join, at\n"
"                          tcp://HOST:PORT (HOST * is every address, PORT *\n"
"                          a free one)\n"
"  --launch CMD            start workers on other machines by CMD, run by\n"
"                          /bin/sh; keys are made for it, and what a worker\n"
"                          needs is in its environment.  Listens at tcp://*:*\n"
"                          unless --listen says where\n"
"  --advertise HOST        how those machines call this one (default: its host\n"
"                          name, or the host of --listen)\n"
"  --key FILE              this coordinator's key pair, made by quarry keygen\n"
"  --workers-keys FILE     public keys of workers that may join, one a line,\n"
"                          or a folder of *.pub files; read again on SIGHUP\n"
"  --listen-without-keys   let everybody join who can reach the endpoint\n"
"  --local-slots N         as --slots; 0: all work is done elsewhere\n"
"  --min-workers N         begin when N workers are there\n"
"  --no-locality           do not ask workers which store paths they have: any\n"
"                          may get any layer\n"
"  --audit PERCENT         have so many layers made twice, by two workers, and\n"
"                          compare\n"
"  --substituter URL       a Nix binary cache (http://, https://, file:///)\n"
"                          where workers get store paths that are not on this\n"
"                          machine; may be given several times, and the first\n"
"                          is asked first\n"
"  --trusted-key NAME:BASE64\n"
"                          what a cache says must be signed by such a key, as\n"
"                          nix.conf's trusted-public-keys have it; may be\n"
"                          given several times\n"
"  --no-require-sigs       take what is not signed\n"
"  --progress auto|bar|plain|json|none\n"
"                          on standard error (default: auto: a bar on a\n"
"                          terminal, else plain lines)\n"
"  --metrics HOST:PORT     numbers for Prometheus at http://HOST:PORT/metrics\n"
"                          while it works; PORT alone: for this machine only\n"
"\n"
GENERAL
"\n"
"Examples:\n"
"  quarry build request.json --to docker-archive:image.tar\n"
"  quarry build /nix/store/...-hello-2.12 --name hello --tag 1 \\\n"
"      --to oci:hello --encoding zstd:3 --metadata-file hello.json\n"
"\n"
STATUS;

static const char batch[] =
"Builds many images in one run: a layer that several have is made once.\n"
"\n"
"Usage:\n"
"  quarry batch [OPTION...] --to TEMPLATE FILE\n"
"\n"
"FILE holds requests as quarry build takes them: one a line (JSON lines), or an\n"
"array of them; - is standard input.  A request may have two keys more:\n"
"  closure                 a file with its closure\n"
"  to                      an output or several, in place of --to\n"
"\n"
"What is wrong with one image is its own: the others are made, and the exit\n"
"status is 1.  Run again, it makes only what was not made before.\n"
"\n"
"  --to TEMPLATE           where images go, as quarry build --to has it, but\n"
"                          for -; {name} and {tag} stand for the image's.\n"
"                          Missing folders are made\n"
"  --closure FILE          one graph for all images: each has what its contents,\n"
"                          paths and config reach there (default: Nix is asked\n"
"                          for each)\n"
"  --cache DIR             layers made before, and where all layers of this run\n"
"                          go first (default: $XDG_CACHE_HOME/quarry or\n"
"                          ~/.cache/quarry)\n"
"  --no-cache              the same in a temporary folder\n"
"  --json                  the summary as JSON instead of a table\n"
"  --metadata-file FILE    the same JSON, to a file\n"
"  --image-metadata TEMPLATE\n"
"                          what quarry build's --metadata-file says of an image,\n"
"                          to a file for each\n"
"\n"
"All other options of quarry build, but --name, for all images (see quarry help\n"
"build); batches are not streamed.  One for the image (--tag, --created,\n"
"--max-layers, ...) wins over the requests.\n"
"\n"
GENERAL
"\n"
"Examples:\n"
"  quarry batch requests.jsonl --closure graph.json --to 'oci:out/{name}'\n"
"  quarry batch requests.jsonl --to 'docker://registry.example/{name}:{tag}' \\\n"
"      --listen 'tcp://*:4700' --key coordinator --workers-keys workers.keys\n"
"\n"
"Exit status: 0 all images are done; 1 some failed; 2 wrong use, or none could\n"
"be made of what was given; 130 and 143 ended by SIGINT and SIGTERM.\n";

static const char plan[] =
"Shows the layers of an image without building it.\n"
"\n"
"Usage:\n"
"  quarry plan [OPTION...] REQUEST.json\n"
"  quarry plan [OPTION...] STORE-PATH...\n"
"\n"
INPUT
"\n"
IMAGE
"\n"
"Output:\n"
"  --json                  JSON instead of a table: store_layers, and for each\n"
"                          layer its paths, narSize and key\n"
"\n"
REGISTRY
"\n"
GENERAL
"\n"
"Examples:\n"
"  quarry plan request.json\n"
"  quarry plan --closure closure.json --max-layers 60 --strategy size --json\n"
"\n"
STATUS;

static const char index_text[] =
"Puts images of several architectures under one name, as an OCI image index.\n"
"\n"
"Usage:\n"
"  quarry index [OPTION...] NAME --manifest IMAGE [--manifest IMAGE...]\n"
"\n"
"NAME is docker://HOST[:PORT]/REPOSITORY:TAG, or oci:DIR[:NAME] for a layout.\n"
"Images that are not there yet are mounted or copied there.  Standard output is\n"
"the index's digest.\n"
"\n"
"  --manifest IMAGE        docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST] or\n"
"                          oci:DIR[:NAME]; its config says for which platform\n"
"                          it is, and two of one are refused\n"
"\n"
REGISTRY
"\n"
GENERAL
"\n"
"Example:\n"
"  quarry index docker://registry.example.org/team/shell:1.0 \\\n"
"      --manifest docker://registry.example.org/team/shell:1.0-amd64 \\\n"
"      --manifest docker://registry.example.org/team/shell:1.0-arm64\n"
"\n"
STATUS;

static const char serve[] =
"Stays up and makes layers for builds of other machines, each layer once.\n"
"\n"
"Usage:\n"
"  quarry serve [OPTION...] --clients ENDPOINT\n"
"\n"
"Clients (builds that are told to ask this coordinator):\n"
"  --clients ENDPOINT      where they may come: tcp://HOST:PORT (HOST * is\n"
"                          every address, PORT * a free one); layers are\n"
"                          handed over at the port after it\n"
"  --clients-keys FILE     public keys of clients that may come, one a line,\n"
"                          or a folder of *.pub files; read again on SIGHUP\n"
"  --clients-without-keys  let everybody come who can reach the endpoint\n"
"  --key FILE              this server's key pair, made by quarry keygen\n"
"  --push-to HOST[:PORT][,...]\n"
"                          registries that workers put layers into for clients\n"
"                          (default: none; clients do that themselves)\n"
"  --cert-dir DIR          authorities that are trusted there besides the\n"
"                          system's (*.crt)\n"
"\n"
"Layers:\n"
"  --cache DIR             layers made before, and where those that are made\n"
"                          now are kept (default: $XDG_CACHE_HOME/quarry or\n"
"                          ~/.cache/quarry)\n"
"  --cache-size SIZE       what is least recently used goes beyond it\n"
"                          (default: 20G; K, M, G and T are powers of 1024)\n"
"  --store-root DIR        the store lies under DIR: what images show as\n"
"                          /nix/store/X is read from DIR/nix/store/X\n"
"  --store-dir DIR         (default: /nix/store)\n"
"\n"
"Work:\n"
"  --slots N               layers worked on at once (default: this machine's\n"
"                          cores)\n"
"  --local-slots N         as --slots; 0: all work is done elsewhere\n"
"  --workers N             local worker processes that share the slots\n"
"                          (default: 1)\n"
"  --worker-program FILE   (default: quarry-worker beside quarry, then on\n"
"                          PATH)\n"
"  --listen ENDPOINT       let workers of other machines join, at\n"
"                          tcp://HOST:PORT, another one than --clients\n"
"  --workers-keys FILE     public keys of workers that may join, as\n"
"                          --clients-keys\n"
"  --listen-without-keys   let everybody join who can reach the endpoint\n"
"  --launch CMD            start workers on other machines by CMD\n"
"  --advertise HOST        how those machines call this one (default: its host\n"
"                          name, or the host of --listen)\n"
"  --no-locality           do not ask workers which store paths they have: any\n"
"                          may get any layer\n"
"  --audit PERCENT         have so many layers made twice, by two workers, and\n"
"                          compare\n"
"  --substituter URL       a Nix binary cache where local workers get store\n"
"                          paths that are not on this machine; may be given\n"
"                          several times\n"
"  --trusted-key NAME:BASE64\n"
"                          what a cache says must be signed by such a key; may\n"
"                          be given several times\n"
"  --no-require-sigs       take what is not signed\n"
"  --metrics HOST:PORT     numbers for Prometheus at http://HOST:PORT/metrics\n"
"  --progress plain|json   how lines are written to standard error\n"
"\n"
GENERAL
"\n"
"SIGTERM ends it: clients and workers are told, and the exit status is 0.\n"
"\n"
"Example:\n"
"  quarry serve --clients 'tcp://*:4710' --clients-keys clients.keys \\\n"
"      --listen 'tcp://*:4700' --workers-keys workers.keys --key server\n"
"\n"
STATUS;

static const char keygen[] =
"Makes a CURVE key pair for a coordinator or a worker.\n"
"\n"
"Usage:\n"
"  quarry keygen FILE [--name NAME]\n"
"\n"
"Writes the pair to FILE, which stays where it is used, and the public key to\n"
"FILE.pub, which the other side is given.  What is there is not replaced.\n"
"\n"
"  --name NAME             what lists of keys and messages call it (default:\n"
"                          FILE's last component)\n"
"  --help                  this text\n"
"\n"
"Example:\n"
"  quarry keygen builder-1\n"
"  cat builder-1.pub >> workers-keys\n"
"\n"
STATUS;

static const char cache[] =
"Shows and clears the layers that were made before.\n"
"\n"
"Usage:\n"
"  quarry cache list [--json]\n"
"  quarry cache verify [--deep]\n"
"  quarry cache prune [--cache-size SIZE] [--unused-days N]\n"
"\n"
"list shows layers, the last used first.  verify looks whether each has its\n"
"blob, and removes what is damaged; the exit status is 1 if there was any.\n"
"prune removes what no layer needs and, least recently used first, what is too\n"
"much.  All may be used while builds run, which keep what they rely on.\n"
"\n"
"  --cache DIR             (default: $XDG_CACHE_HOME/quarry or\n"
"                          ~/.cache/quarry)\n"
"  --json                  list: JSON instead of a table\n"
"  --deep                  verify: read and hash every blob\n"
"  --cache-size SIZE       prune: what may stay (default: 20G; K, M, G and T\n"
"                          are powers of 1024)\n"
"  --unused-days N         prune: what was not used for N days goes\n"
"\n"
GENERAL
"\n"
STATUS;

static const char status[] =
"Shows how a coordinator that stays up is doing: workers, clients, layers.\n"
"\n"
"Usage:\n"
"  quarry status [OPTION...] --coordinator ENDPOINT\n"
"\n"
"  --coordinator ENDPOINT  where it is, as for quarry build: tcp://HOST:PORT\n"
"  --server-key KEY        its public key, or the file that has it\n"
"  --key FILE              this client's key pair\n"
"  --json                  JSON instead of a table, a line each time\n"
"  --watch SECONDS         again and again, with so many seconds in between\n"
"\n"
GENERAL
"\n"
"Example:\n"
"  quarry status --coordinator tcp://build-host:4710 \\\n"
"      --server-key coordinator.pub --key client --watch 2\n"
"\n"
STATUS;

/* clang-format on */

const char *
options_help(enum command command)
{
	switch (command) {
	case COMMAND_BUILD:
		return build;
	case COMMAND_BATCH:
		return batch;
	case COMMAND_PLAN:
		return plan;
	case COMMAND_SERVE:
		return serve;
	case COMMAND_KEYGEN:
		return keygen;
	case COMMAND_CACHE:
		return cache;
	case COMMAND_INDEX:
		return index_text;
	case COMMAND_STATUS:
		return status;
	case COMMAND_HELP:
	case COMMAND_VERSION:
		break;
	}
	return overview;
}
