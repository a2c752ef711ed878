{{/* A pod of the Ray cluster. Arguments: root, component, image, resources, gpus, sharedMemory,
     nodeSelector, tolerations, needsApi, ofJob: the launcher fills in what is each job's own. */}}
{{- define "rlhf.ray-pod" -}}
metadata:
  labels:
    {{- include "rlhf.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  serviceAccountName: {{ .root.Release.Name }}-ray
  automountServiceAccountToken: {{ .needsApi }}
  terminationGracePeriodSeconds: {{ .root.Values.ray.terminationGracePeriodSeconds }}
  {{- include "rlhf.pull" .root | nindent 2 }}
  securityContext: {{- include "rlhf.pod-security" .root | nindent 4 }}
  {{- with .nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ray
      image: {{ .image }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      # Ray, DeepSpeed and Triton write caches below the home folder.
      securityContext: {{- include "rlhf.container-security" (dict "readOnly" false) | nindent 8 }}
      env:
        - {name: HF_HUB_OFFLINE, value: "1"}
        - {name: RAY_AUTH_MODE, value: token}
      {{- include "rlhf.artefacts-env" .root | nindent 6 }}
      {{- if eq .component "ray-head" }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: metrics, containerPort: 8080}
      {{- else }}
      ports:
        - {name: metrics, containerPort: 8080}
      {{- end }}
      {{- if not .ofJob }}
      lifecycle:
        preStop:
          # Tell Ray that the node goes, then give its learners time for a checkpoint.
          exec: {command: [/bin/sh, -c, ray stop --grace-period {{ max 30 (sub .root.Values.ray.terminationGracePeriodSeconds 30) }}]}
      {{- end }}
      resources:
        requests:
          {{- toYaml .resources.requests | nindent 10 }}
          {{- if .gpus }}
          nvidia.com/gpu: {{ .gpus }}
          {{- end }}
        limits:
          {{- toYaml .resources.limits | nindent 10 }}
          {{- if .gpus }}
          nvidia.com/gpu: {{ .gpus }}
          {{- end }}
      volumeMounts:
        - {name: storage, mountPath: /storage}
        - {name: shared-memory, mountPath: /dev/shm}
        - {name: ray-logs, mountPath: /tmp/ray}
  volumes:
    - name: storage
      persistentVolumeClaim: {claimName: {{ include "rlhf.claim" .root }}}
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: {{ .sharedMemory }}}
    - name: ray-logs
      emptyDir: {sizeLimit: 20Gi}
{{- end }}

{{- define "rlhf.head-pod" -}}
{{- $ray := .root.Values.ray -}}
{{- include "rlhf.ray-pod" (dict "root" .root "component" "ray-head" "image" .root.Values.image.worker "resources" $ray.head.resources "sharedMemory" "2Gi" "needsApi" .needsApi "ofJob" .ofJob) }}
{{- end }}

{{- define "rlhf.cpu-pod" -}}
{{- $pods := .root.Values.ray.cpuWorkers -}}
{{- include "rlhf.ray-pod" (dict "root" .root "component" "ray-worker" "image" .root.Values.image.worker "resources" $pods.resources "sharedMemory" $pods.sharedMemory "nodeSelector" $pods.nodeSelector "tolerations" $pods.tolerations "needsApi" false "ofJob" .ofJob) }}
{{- end }}

{{- define "rlhf.gpu-pod" -}}
{{- $pods := .root.Values.ray.gpuWorkers -}}
{{- include "rlhf.ray-pod" (dict "root" .root "component" "ray-worker" "image" .root.Values.image.gpuWorker "resources" $pods.resources "gpus" $pods.gpus "sharedMemory" $pods.sharedMemory "nodeSelector" $pods.nodeSelector "tolerations" $pods.tolerations "needsApi" false "ofJob" .ofJob) }}
{{- end }}

{{/* The whole CPUs that Ray counts for a pod whose limit is this quantity. */}}
{{- define "rlhf.whole-cpus" -}}
{{- $given := toString . -}}
{{- if hasSuffix "m" $given -}}
{{ ceil (divf (float64 (trimSuffix "m" $given)) 1000) | int }}
{{- else -}}
{{ ceil (float64 $given) | int }}
{{- end -}}
{{- end }}

{{/* What the control plane is told of its workers, as YAML of settings; those that are given by name
     under controlPlane.settings take their place. */}}
{{- define "rlhf.cluster-settings" -}}
{{- $cpu := .Values.ray.cpuWorkers -}}
{{- $gpu := .Values.ray.gpuWorkers -}}
{{- $python := $cpu.vllmPython -}}
{{- if and $gpu.enabled $gpu.vllmPython -}}
{{- if and $python (ne $python $gpu.vllmPython) -}}
{{- fail "ray.cpuWorkers.vllmPython: must be the path of ray.gpuWorkers.vllmPython, or empty" -}}
{{- end -}}
{{- $python = $gpu.vllmPython -}}
{{- end -}}
{{- with $python }}
RLHF_VLLM_PYTHON: {{ . | quote }}
{{- end }}
{{- if and (eq .Values.launcher "ray") .Values.ray.autoscaling.enabled }}
{{- $cpus := mul $cpu.maxReplicas (include "rlhf.whole-cpus" $cpu.resources.limits.cpu) }}
{{- if $gpu.enabled }}
{{- $cpus = add $cpus (mul $gpu.maxReplicas (include "rlhf.whole-cpus" $gpu.resources.limits.cpu)) }}
RLHF_CLUSTER_MAX_GPUS: {{ mul $gpu.maxReplicas $gpu.gpus | quote }}
{{- end }}
RLHF_CLUSTER_MAX_CPUS: {{ $cpus | quote }}
RLHF_CLUSTER_GROWTH_SECONDS: {{ .Values.ray.autoscaling.growthSeconds | quote }}
{{- end }}
{{- end }}
