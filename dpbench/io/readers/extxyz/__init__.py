"""Readers of extxyz."""
