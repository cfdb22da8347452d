using System.Collections.Frozen;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.Mvc.ModelBinding;
using Rollcall.Patrons;

namespace Rollcall.Server.Api;

/// <summary>What each route of the API reads of an address's query. It is known from where the OpenAPI document has it, so that no route can be forgotten:
/// a misspelt filter that is passed over would give everybody.</summary>
internal sealed class ApiQuery(IApiDescriptionGroupCollectionProvider descriptions)
{
    private readonly Lazy<FrozenDictionary<string, string[]>> _known = new(() =>
        descriptions
            .ApiDescriptionGroups.Items.SelectMany(g => g.Items)
            .Select(d => (Name: d.ActionDescriptor.EndpointMetadata.OfType<IEndpointNameMetadata>().LastOrDefault()?.EndpointName, d))
            .Where(r => r.Name is not null)
            .ToFrozenDictionary(
                r => r.Name!,
                r => r.d.ParameterDescriptions.Where(p => p.Source == BindingSource.Query).Select(p => p.Name).ToArray(),
                StringComparer.Ordinal
            )
    );

    /// <summary>What a route reads; nothing when nothing describes it.</summary>
    public IReadOnlyList<string> Of(Endpoint endpoint) =>
        endpoint.Metadata.GetMetadata<IEndpointNameMetadata>()?.EndpointName is { } name ? _known.Value.GetValueOrDefault(name, []) : [];

    /// <summary>Why the query does not fit; null when the route reads all of it.</summary>
    public string? Refusal(Endpoint endpoint, IQueryCollection query)
    {
        if (query.Count == 0)
        {
            return null;
        }

        var known = Of(endpoint);
        var unknown = query.Keys.FirstOrDefault(k => !known.Contains(k, StringComparer.OrdinalIgnoreCase));
        return unknown is null
            ? null
            : $"This address has no parameter '{Text.Cut(unknown, 40)}': {(known.Count == 0 ? "it takes none" : $"it takes {string.Join(", ", known)}")}. /api/v1/openapi.json describes it.";
    }
}
