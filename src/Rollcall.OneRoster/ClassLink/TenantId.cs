using System.Diagnostics.CodeAnalysis;

namespace Rollcall.OneRoster.ClassLink;

/// <summary>ClassLink's number for a school system, kept as text.</summary>
public static class TenantId
{
    /// <summary>Trims and checks: one to ten digits, the first not zero.</summary>
    /// <param name="text">What was typed.</param>
    /// <param name="tenantId">The trimmed id; <see langword="null"/> when it is none.</param>
    public static bool TryParse(string? text, [NotNullWhen(true)] out string? tenantId)
    {
        var trimmed = text?.Trim() ?? "";
        var valid = trimmed.Length is >= 1 and <= 10 && trimmed[0] != '0' && !trimmed.AsSpan().ContainsAnyExceptInRange('0', '9');
        tenantId = valid ? trimmed : null;
        return valid;
    }
}
