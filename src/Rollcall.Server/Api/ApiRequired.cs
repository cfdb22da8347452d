using System.Collections;
using System.Collections.Concurrent;
using System.Reflection;
using System.Text.Json;
using Microsoft.AspNetCore.Http.Metadata;

namespace Rollcall.Server.Api;

/// <summary>What a body cannot do without has to be in it: no handler is given a null that its types rule out. The serializer puts one where a
/// text or a list is missing, and takes one in a list.</summary>
internal static class ApiRequired
{
    private static readonly ConcurrentDictionary<Type, IReadOnlyList<(PropertyInfo Property, NullabilityInfo Nullability)>> s_members =
        new();

    public static ValueTask<object?> CheckAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        if (
            context.HttpContext.GetEndpoint()?.Metadata.GetMetadata<IAcceptsMetadata>()?.RequestType is { } type
            && context.Arguments.FirstOrDefault(a => a?.GetType() == type) is { } body
        )
        {
            if (Lacking(body, "$") is { } path)
            {
                throw new BadHttpRequestException("A member is missing.", new JsonException("It is missing.", path, null, null));
            }

            if (NulIn(body, "$") is { } where)
            {
                throw new BadHttpRequestException("A text holds a NUL.", new NulException(where));
            }
        }

        return next(context);
    }

    /// <summary>Where there is nothing and has to be something; null when all is there.</summary>
    private static string? Lacking(object body, string path) =>
        s_members
            .GetOrAdd(body.GetType(), Members)
            .Select(m =>
                Lacking(m.Property.GetValue(body), m.Nullability, $"{path}.{JsonNamingPolicy.CamelCase.ConvertName(m.Property.Name)}")
            )
            .FirstOrDefault(p => p is not null);

    private static string? Lacking(object? value, NullabilityInfo nullability, string path) =>
        value switch
        {
            null => nullability.ReadState == NullabilityState.NotNull ? path : null,
            string => null,
            IDictionary map => nullability.GenericTypeArguments is [_, var each]
                ? map.Values.Cast<object?>().Select(v => Lacking(v, each, $"{path}.*")).FirstOrDefault(p => p is not null)
                : null,
            IEnumerable list => nullability.GenericTypeArguments is [var one]
                ? list.Cast<object?>().Select((v, i) => Lacking(v, one, $"{path}[{i}]")).FirstOrDefault(p => p is not null)
                : null,
            _ => value.GetType().Assembly == typeof(ApiRequired).Assembly && !value.GetType().IsValueType ? Lacking(value, path) : null,
        };

    /// <summary>Where a text holds a character that is in no text, and that PostgreSQL fails at; null when none does.</summary>
    private static string? NulIn(object? value, string path) =>
        value switch
        {
            null or byte[] => null,
            string text => text.Contains('\0', StringComparison.Ordinal) ? path : null,
            JsonElement element => InJson(element, path),
            IDictionary map => map
                .Keys.Cast<object>()
                .Select(k => NulIn(k, $"{path}.*") ?? NulIn(map[k], $"{path}.{k}"))
                .FirstOrDefault(p => p is not null),
            IEnumerable list => list.Cast<object?>().Select((v, i) => NulIn(v, $"{path}[{i}]")).FirstOrDefault(p => p is not null),
            _ => value.GetType().Assembly == typeof(ApiRequired).Assembly && !value.GetType().IsValueType
                ? s_members
                    .GetOrAdd(value.GetType(), Members)
                    .Select(m => NulIn(m.Property.GetValue(value), $"{path}.{JsonNamingPolicy.CamelCase.ConvertName(m.Property.Name)}"))
                    .FirstOrDefault(p => p is not null)
                : null,
        };

    private static string? InJson(JsonElement element, string path) =>
        element.ValueKind switch
        {
            JsonValueKind.String => NulIn(element.GetString(), path),
            JsonValueKind.Array => element.EnumerateArray().Select((e, i) => InJson(e, $"{path}[{i}]")).FirstOrDefault(p => p is not null),
            JsonValueKind.Object => element
                .EnumerateObject()
                .Select(p => NulIn(p.Name, $"{path}.*") ?? InJson(p.Value, $"{path}.{p.Name}"))
                .FirstOrDefault(p => p is not null),
            _ => null,
        };

    private static List<(PropertyInfo, NullabilityInfo)> Members(Type type)
    {
        var context = new NullabilityInfoContext();
        return [.. type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Select(p => (p, context.Create(p)))];
    }
}

/// <summary>A text of a body holds a NUL.</summary>
internal sealed class NulException(string path) : JsonException("It holds a NUL.", path, null, null);
