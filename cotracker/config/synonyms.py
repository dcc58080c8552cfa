"""What other programs call our settings: each name, and the settings it may mean."""

SYNONYMS = {  # our name, or the end of it -> other names
    "train.lr": "learning_rate base_lr max_lr peak_lr lr_max init_lr step_size lrate eta",
    "train.batch": "batch_size bs batchsize train_batch_size mini_batch minibatch "
    "per_device_train_batch_size",
    "train.accumulate": "accumulation accumulation_steps grad_accum gradient_accumulation "
    "gradient_accumulation_steps grad_accum_steps accumulate_grad_batches accum_iter",
    "train.steps": "epochs num_epochs n_epochs max_epochs epoch max_steps num_steps n_steps "
    "total_steps train_steps max_iter max_iters num_iters total_iters iterations num_iterations "
    "training_steps train_iters niter updates",
    "iters": "iterations num_iters n_iters updates refinements refine_iters num_iterations M",
    "train.weight_decay": "wd decay l2 wdecay regularisation regularization",
    "train.clip": "grad_clip gradient_clip clip_grad clip_norm max_norm max_grad_norm grad_norm "
    "clip_grad_norm gradient_clip_val gradient_clipping",
    "train.schedule_extra_steps": "extra_steps",
    "train.lr_schedule": "scheduler schedule lr_scheduler sched lr_policy schedule_type",
    "train.warmup": "warmup_steps warmup_ratio warm_up pct_start warmup_epochs num_warmup_steps",
    "train.ema": "ema_decay ema_rate use_ema averaging",
    "train.workers": "num_workers n_workers dataloader_workers nworkers loader_workers",
    "workers": "num_workers n_workers processes jobs num_processes n_jobs nproc",
    "train.precision": "amp fp16 bf16 mixed_precision dtype half float16 bfloat16 use_amp autocast",
    "precision": "amp fp16 bf16 mixed_precision dtype half float16 bfloat16",
    "train.device": "gpu gpus cuda accelerator device_id",
    "device": "gpu gpus cuda accelerator device_id",
    "train.threads": "num_threads n_threads nthreads cpu_threads",
    "train.compile": "torch_compile compile_model jit",
    "train.init_from": "ckpt checkpoint_path pretrained weights restore_ckpt load_from finetune "
    "pretrained_weights load init restore ckpt_path model_path",
    "checkpoint": "ckpt checkpoint_path weights model_path pretrained load ckpt_path file",
    "train.save_every": "save_freq save_interval save_steps checkpoint_every ckpt_every "
    "save_every_n_steps checkpoint_freq",
    "train.log_every": "log_interval log_freq print_every print_freq logging_steps "
    "log_every_n_steps report_every",
    "train.evaluate_every": "eval_every val_every eval_interval val_interval eval_freq val_freq "
    "validate_every eval_steps evaluate_every_n_steps check_val_every_n_epoch",
    "train.pictures_every": "vis_every image_every images_every visualize_every plot_every",
    "train.budget_minutes": "time_limit max_time time_budget budget minutes max_minutes hours",
    "train.timeout_minutes": "timeout ddp_timeout nccl_timeout",
    "train.max_skipped_steps": "max_skips max_nan_steps patience",
    "train.trainable": "freeze frozen train_only unfreeze",
    "train.dry_run": "dry dryrun test_run fast_dev_run debug estimate",
    "train.decay_from": "cooldown_from anneal_from",
    "train.render_on_device": "render_on_gpu gpu_render",
    "out": "output output_dir outdir out_dir save_dir log_dir logdir run_dir exp_dir work_dir "
    "workdir dir name run_name exp_name experiment_name save_path output_path dest ckpt_dir",
    "seed": "random_seed manual_seed rng_seed random_state",
    "data.points": "n_points num_points npoints num_tracks n_tracks traj_per_sample max_points "
    "points_per_clip trajectories num_trajectories",
    "generator.points": "n_points num_points npoints num_tracks n_tracks",
    "data.frames": "seq_len sequence_length num_frames n_frames nframes clip_len clip_length "
    "length sequence_len T",
    "generator.frames": "seq_len sequence_length num_frames n_frames clip_len length",
    "data.height": "image_size img_size crop_size resolution input_size H image_height res size",
    "data.width": "W image_width",
    "generator.height": "image_size img_size resolution H res size",
    "tracker.resolution": "image_size img_size crop_size input_size interp_shape size res",
    "data.root": "data_root data_dir dataset_root data_path dataset_path path datadir "
    "dataset_dir root_dir folder dataset dir",
    "benchmark.root": "data_root data_dir dataset_root data_path dataset_path path datadir "
    "dataset_dir root_dir folder root dir",
    "datasets": "data_root data_dir dataset_root data_path dataset_path root path folder",
    "generator.videos": "root data_root data_dir video_dir path folder input",
    "textures": "texture photographs photos backgrounds images_dir texture_dir",
    "model.window": "window_size window_len sliding_window_len sliding_window win S window_length",
    "tracker.window": "window_size window_len sliding_window_len win S window_length",
    "model.stride": "down_ratio downsample model_stride output_stride patch_size k",
    "model.hidden": "dim hidden_dim hidden_size d_model embed_dim width dim_hidden",
    "model.heads": "num_heads n_heads nhead nheads attention_heads",
    "model.time_layers": "depth num_layers n_layers layers blocks num_blocks time_depth",
    "model.group_layers": "space_layers space_depth spatial_layers cross_layers",
    "model.channels": "latent_dim feature_dim feat_dim fdim features d",
    "model.levels": "corr_levels num_levels pyramid_levels n_levels",
    "model.radius": "corr_radius search_size delta r",
    "model.encoder": "backbone cnn feature_extractor",
    "model.virtual_tracks": "num_virtual_tracks virtual_points",
    "model.recompute": "gradient_checkpointing checkpointing activation_checkpointing grad_ckpt",
    "model.mlp_ratio": "ffn_ratio mlp expansion",
    "objective.visibility_weight": "vis_weight lambda_vis occlusion_weight visibility_loss_weight",
    "objective.gamma": "sequence_loss_gamma discount loss_gamma",
    "objective.unrolled": "unroll unrolling sliding",
    "limit": "max_videos num_videos n_videos max_samples videos count subset num_samples",
    "pictures": "visualize vis plots num_pictures save_pictures visualise images",
    "count": "num n number num_clips n_clips clips num_samples samples num_videos size limit",
    "start": "begin offset first start_index",
    "images": "format ext image_format extension",
    "quality": "jpeg_quality jpg_quality q",
    "tracker.threshold": "visibility_threshold vis_threshold occlusion_threshold thresh thr",
    "tracker.support_grid": "grid_size global_grid support_grid_size support n_support grid",
    "tracker.local_support_grid": "local_grid local_grid_size local_extent",
    "tracker.single_point": "one_by_one individually per_point",
    "tracker.flip_tta": "tta flip mirrored test_time_augmentation",
    "tracker.v1_compat": "published compat",
    "experiment": "config cfg config_name preset recipe exp",
    "data": "dataset train_data train_set trainset",
    "benchmark": "dataset eval_dataset eval_set test_set testset task data",
    "tracker": "method tracker_name algorithm",
    "generator": "data dataset source kind",
    "model": "arch architecture network net model_name",
    "augment": "aug augmentation augmentations transforms transform",
    "objective": "loss losses criterion",
}

NOTES = {  # names that mean none of our settings -> what to do instead
    "opt optimizer optimiser optim adam adamw sgd": "the optimiser is AdamW; its settings are "
    "train.lr, train.weight_decay and train.clip",
    "betas beta1 beta2 momentum eps": "AdamW's other numbers are PyTorch's and cannot be set",
    "num_gpus ngpus n_gpus world_size nproc_per_node nodes num_nodes devices": "the number of "
    "processes is torchrun's: torchrun --nproc-per-node N train.py …",
    "resume resume_from resume_from_checkpoint auto_resume continue": "run the same command again "
    "with the same out= to resume",
    "dropout drop drop_path": "the networks have no dropout",
    "wandb wandb_project logger tensorboard project": "the log is out/log.jsonl and TensorBoard's "
    "files in out=DIR",
    "overwrite force": "nothing is overwritten: pass another out=DIR",
}


def synonym(key: str, keys: list[str]) -> str | None:
    """The one of `keys` that `key` may mean under another name, the same section first; or None."""
    section, _, name = key.rpartition(".")
    name = name.replace("-", "_").lower()
    meant = [ours for ours, names in SYNONYMS.items() if name in names.lower().split()]
    found = [one for ours in meant for one in keys if one == ours or one.endswith(f".{ours}")]
    alike = [one for one in found if one.rpartition(".")[0] == section]
    within = [one for one in found if section and one.startswith(f"{section}.")]
    return next(iter(alike + within + found), None)


def note(key: str) -> str | None:
    """What to do in the place of a setting that there is not, or None."""
    name = key.rpartition(".")[2].replace("-", "_").lower()
    return next((text for names, text in NOTES.items() if name in names.split()), None)
